// Follows the comments of posts of the example application with Rails' own client of Action Cable, as a page does, and tells in lines of
// JSON what happens. Ends with its standard input.
//
//   node follow.js DIRECTORY PACKAGE URL ORIGIN POST [STALE_SECONDS]
//
// DIRECTORY has the packages, PACKAGE is the client's. STALE_SECONDS is ActionCable.ConnectionMonitor.staleThreshold, by which the client
// decides when to connect again.
"use strict";

const { createRequire } = require("module");

const [directory, name, url, origin, post, stale] = process.argv.slice(2);
const load = createRequire(directory + "/");

// What the client expects of a browser
globalThis.addEventListener = globalThis.removeEventListener = () => {};
globalThis.self = globalThis;
globalThis.document = { visibilityState: "visible" };

const ActionCable = load(name);
const WebSocket = load("ws");

ActionCable.adapters.WebSocket = class extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { origin: origin, rejectUnauthorized: false });
    this.on("error", () => {}); // "close" follows, and that is what the client goes by
    this.on("close", (code) => tell("closed", { code: code }));
  }
};
if (stale) {
  ActionCable.ConnectionMonitor.staleThreshold = Number(stale);
  if (ActionCable.ConnectionMonitor.pollInterval) ActionCable.ConnectionMonitor.pollInterval.min = Number(stale);
}

function tell(event, details) {
  process.stdout.write(JSON.stringify({ event: event, ...details }) + "\n");
}

const consumer = ActionCable.createConsumer(url);
consumer.subscriptions.create({ channel: "CommentsChannel", post_id: post }, {
  connected() { tell("connected"); },
  disconnected(how) { tell("disconnected", how); },
  rejected() { tell("rejected"); },
  received(comment) { tell("received", comment); }
});

process.stdin.on("end", () => process.exit(0)).resume();
