/**
 * A gateway, and a node that joins it with an invite, in one process that ends with SIGKILL at step number `killAt` of the joining: before
 * each thing that is read or written in the store, before the commit, after it, and around the writing of the node's token.
 * argv: store path, file of the node's token, killAt. Says the invite's secret on stdout, and `done` when there was no such step.
 */
import { writeSync } from "node:fs";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { createGateway } from "../../src/gateway/index.ts";
import { runNode } from "../../src/node/index.ts";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { Secret } from "../../src/secret.ts";
import type { RecordStore, RecordTransaction } from "../../src/store/record-store.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { crashIdentity, crashToken, crashTokenKey, tokenInFile } from "./crash-invite-parts.ts";

const [storePath = "", tokenFile = "", killAt = "0"] = process.argv.slice(2);
let isArmed = false;
let steps = 0;

function step(): void {
  if (isArmed && ++steps === Number(killAt)) process.kill(process.pid, "SIGKILL");
}

/** The store, with a step before everything that a change does in it, before its commit and after. */
function steppedStore(store: RecordStore): RecordStore {
  const stepped = (records: RecordTransaction): RecordTransaction => ({
    get: (...args) => (step(), records.get(...args)),
    all: (...args) => (step(), records.all(...args)),
    put: (...args) => (step(), records.put(...args)),
    delete: (...args) => (step(), records.delete(...args)),
    append: (...args) => (step(), records.append(...args)),
    revision: () => records.revision(),
  });
  return {
    all: (collection) => store.all(collection),
    tail: (journal, limit) => store.tail(journal, limit),
    revision: () => store.revision(),
    close: () => store.close(),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    async update(change) {
      const result = await store.update(async (records) => {
        const made = await change(stepped(records));
        step();
        return made;
      });
      step();
      return result;
    },
  };
}

const store = steppedStore(await openSqliteStore(storePath));
const gateway = await createGateway({ store, tokenKey: crashTokenKey, auth: { token: crashToken } });
const operator = await connectGateway({
  gateway: { url: gateway.url },
  client: { id: "gateway-client", mode: "backend", version: "1", platform: "linux" },
  role: "operator",
  scopes: ["operator.admin"],
  credential: { kind: "token", secret: new Secret(crashToken) },
  timeoutMs: 20_000,
});
const { setupCode } = await operator.call("device.pair.setupCode", { publicUrl: gateway.url });
const read = readSetupCode(setupCode);
if ("problem" in read) throw new Error(read.problem);
const { bootstrapToken } = read.code;
writeSync(1, `${JSON.stringify({ secret: bootstrapToken })}\n`);

const memory = tokenInFile(tokenFile);
isArmed = true;
await runNode({
  gateway: { url: gateway.url },
  identity: crashIdentity,
  handlers: { "system.which": async () => ({}) },
  credentials: { bootstrap: new Secret(bootstrapToken) },
  memory: {
    ...memory,
    async remember(...args) {
      step();
      await memory.remember(...args);
      step();
    },
  },
  once: true,
});
step();
isArmed = false;
writeSync(1, `${JSON.stringify({ done: true })}\n`);
process.exit(0);
