//! Journals of living and dead processes in one folder.

use std::collections::BTreeSet;

use super::*;
use evergrant_domain::sealed_answer::SEALED_ANSWER_VERSION;
use evergrant_domain::{DocumentId, Timestamp};

fn answer(id: i64) -> SealedAnswer {
    SealedAnswer {
        version: SEALED_ANSWER_VERSION,
        provider: "p".parse().unwrap(),
        id: DocumentId::Integer(id),
        key: "k".to_owned(),
        sealed_at: Timestamp::default(),
        spent: None,
        passes: 0,
        sealed: "AAAA".to_owned(),
    }
}

fn open(folder: &tempfile::TempDir, name: &str) -> FileJournal {
    FileJournal::open(folder.path(), name).unwrap()
}

/// What a killed process leaves: the file, without its lock.
fn die(journal: FileJournal) {
    let state = journal.state.into_inner().unwrap();
    state.own.unlock();
    std::mem::forget(state);
}

fn ids(left: &[OrphanedAnswer]) -> Vec<DocumentId> {
    left.iter().map(|left| SealedAnswer::decode(&left.line).unwrap().id).collect()
}

fn of_this_boot(name: &str) -> String {
    name.replace('.', &format!(".{}.", boot()))
}

fn files(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|found| found.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_killed_processs_answers_are_adopted_once() {
    let folder = tempfile::tempdir().unwrap();
    let killed = open(&folder, "killed");
    killed.append(&answer(1)).unwrap();
    killed.append(&answer(2)).unwrap();
    let heir = open(&folder, "heir");
    assert_eq!(heir.adopt_orphans().unwrap(), [], "its owner lives");
    die(killed);
    let left = heir.adopt_orphans().unwrap();
    assert_eq!(ids(&left), [DocumentId::Integer(1), DocumentId::Integer(2)]);
    let other = open(&folder, "other");
    assert_eq!(other.adopt_orphans().unwrap(), [], "the heir has it");
    left.iter().for_each(|left| heir.forget(left.entry));
    let names = ["heir.journal", "killed.died", "other.journal"].map(of_this_boot);
    assert_eq!(files(folder.path()), names.into(), "what is committed is removed");
}

#[test]
fn a_journal_is_drained_when_every_answer_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let [killed, heir] = ["killed", "heir"].map(|name| open(&folder, name));
    killed.append(&answer(1)).unwrap();
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Unknown, "it lives");
    assert_eq!(heir.peer_journal("elsewhere"), PeerJournal::Unknown, "nothing is known of it");
    die(killed);
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Recovering);
    let left = heir.adopt_orphans().unwrap();
    let other = open(&folder, "other");
    assert_eq!(other.peer_journal("killed"), PeerJournal::Recovering, "the heir is at it");
    assert_eq!(other.peer_journal("heir"), PeerJournal::Unknown);
    heir.forget(left[0].entry);
    assert_eq!(other.peer_journal("killed"), PeerJournal::Drained);
    let remembered = folder.path().join(of_this_boot("killed.died"));
    let long_ago = std::time::SystemTime::now() - 2 * PEER_TTL;
    File::open(&remembered).unwrap().set_modified(long_ago).unwrap();
    other.adopt_orphans().unwrap();
    assert_eq!(
        other.peer_journal("killed"),
        PeerJournal::Unknown,
        "nothing of it is held any more"
    );
    assert!(!remembered.exists());
}

#[test]
fn a_forwarded_answer_leaves_its_journal_undrained() {
    let folder = tempfile::tempdir().unwrap();
    let killed = open(&folder, "killed");
    killed.append(&answer(1)).unwrap();
    killed.append(&answer(2)).unwrap();
    die(killed);
    let heir = open(&folder, "heir");
    let left = heir.adopt_orphans().unwrap();
    heir.forward(left[0].entry);
    heir.forget(left[1].entry);
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Forwarded);
    let names = ["heir.journal", "killed.handed-on"].map(of_this_boot);
    assert_eq!(files(folder.path()), names.into());
}

#[test]
fn a_missed_answer_leaves_its_journal_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let [killed, heir] = ["killed", "heir"].map(|name| open(&folder, name));
    killed.append(&answer(1)).unwrap();
    killed.with_state(|state| state.own.mark_incomplete());
    killed.append(&answer(2)).unwrap();
    die(killed);
    let left = heir.adopt_orphans().unwrap();
    assert_eq!(ids(&left), [DocumentId::Integer(1), DocumentId::Integer(2)]);
    left.iter().for_each(|left| heir.forget(left.entry));
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Unknown);
}

#[test]
fn a_journal_from_before_the_boot_is_adopted_but_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let killed = open(&folder, "killed");
    killed.append(&answer(1)).unwrap();
    die(killed);
    let earlier = folder.path().join("killed.0123abcd.journal");
    std::fs::rename(folder.path().join(of_this_boot("killed.journal")), earlier).unwrap();
    let heir = open(&folder, "heir");
    let left = heir.adopt_orphans().unwrap();
    assert_eq!(ids(&left), [DocumentId::Integer(1)]);
    heir.forget(left[0].entry);
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Unknown);
}

#[test]
fn answers_are_adopted_even_if_the_death_cannot_be_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let [killed, heir] = ["killed", "heir"].map(|name| open(&folder, name));
    killed.append(&answer(1)).unwrap();
    die(killed);
    // Like a full disk: the file cannot be created.
    std::fs::create_dir(folder.path().join(of_this_boot("killed.died"))).unwrap();
    assert_eq!(ids(&heir.adopt_orphans().unwrap()), [DocumentId::Integer(1)]);
}

#[test]
fn an_adopter_that_dies_is_adopted_from() {
    let folder = tempfile::tempdir().unwrap();
    let killed = open(&folder, "killed");
    killed.append(&answer(1)).unwrap();
    die(killed);
    let heir = open(&folder, "heir");
    assert_eq!(heir.adopt_orphans().unwrap().len(), 1);
    drop(heir);
    let second = open(&folder, "second");
    assert_eq!(ids(&second.adopt_orphans().unwrap()), [DocumentId::Integer(1)]);
}

#[test]
fn a_journal_is_empty_when_everything_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder, "one");
    let entries = [1, 2, 3].map(|id| journal.append(&answer(id)).unwrap());
    let path = folder.path().join(of_this_boot("one.journal"));
    assert!(path.metadata().unwrap().len() > 0);
    entries.into_iter().for_each(|entry| journal.forget(entry));
    assert_eq!(path.metadata().unwrap().len(), 0);
    journal.append(&answer(4)).unwrap();
    die(journal);
    let heir = open(&folder, "two");
    assert_eq!(ids(&heir.adopt_orphans().unwrap()), [DocumentId::Integer(4)]);
}

#[test]
fn a_process_that_ends_with_nothing_left_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, "one"));
    assert!(files(folder.path()).is_empty());
}

/// The journal of a killed process with an answer to document 1, and an adopter.
fn killed_and_heir(folder: &tempfile::TempDir) -> FileJournal {
    let killed = open(folder, "killed");
    killed.append(&answer(1)).unwrap();
    die(killed);
    open(folder, "heir")
}

#[test]
fn other_files_in_the_folder_prevent_no_adoption() {
    let folder = tempfile::tempdir().unwrap();
    let heir = killed_and_heir(&folder);
    std::fs::create_dir(folder.path().join("a.journal")).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.path().join("b.journal")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("c.journal")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("z.journal")).unwrap();
    assert_eq!(ids(&heir.adopt_orphans().unwrap()), [DocumentId::Integer(1)]);
    assert_eq!(heir.adopt_orphans().unwrap(), [], "once");
}

#[test]
fn an_unreadable_journal_is_adopted_once_it_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let heir = killed_and_heir(&folder);
    let journal = folder.path().join(of_this_boot("killed.journal"));
    let aside = folder.path().join("aside");
    std::fs::rename(&journal, &aside).unwrap();
    std::fs::create_dir(&journal).unwrap();
    assert_eq!(heir.adopt_orphans().unwrap(), []);
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Unreadable);
    std::fs::remove_dir(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    assert_eq!(ids(&heir.adopt_orphans().unwrap()), [DocumentId::Integer(1)]);
    assert_eq!(heir.peer_journal("killed"), PeerJournal::Recovering);
}

#[test]
fn a_line_that_is_too_long_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(SEALED_ANSWER_BYTES_MAX + 1);
    let most = "x".repeat(SEALED_ANSWER_BYTES_MAX);
    let path = folder.path().join("lines");
    std::fs::write(&path, format!("{long}\n\none\n{most}\n{long}{long}\ntwo")).unwrap();
    let lines = read_lines(&File::open(path).unwrap()).unwrap();
    assert_eq!(lines, [b"one".as_slice(), most.as_bytes(), b"two"]);
}
