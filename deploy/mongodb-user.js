// For docker-compose.yml: MongoDB's image runs it as root at the first start, when there are no data yet. It
// makes the user of Evergrant's programs, who reads and writes one database and administers nothing.
const env = (name) => (typeof process === "undefined" ? _getEnv(name) : process.env[name]);
db.getSiblingDB("admin").createUser({
  user: "evergrant",
  pwd: env("EVERGRANT_MONGODB_PASSWORD"),
  roles: [{ role: "readWrite", db: env("EVERGRANT_MONGODB_DATABASE") }],
});
