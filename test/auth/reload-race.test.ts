/** Rules that change while a connect is being decided: who comes in comes in under those that hold by then. */
import { expect, test } from "vitest";
import type { GatewayOptions, GatewayRules } from "../../src/gateway/options.ts";
import type { RecordStore } from "../../src/store/record-store.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { readSetupCode } from "../../src/protocol/setup-code.ts";
import { at, makeDevice, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway } from "../support/world.ts";

/** A store whose changes wait, once it is held, until it is let go on; says when it has come to that. */
async function slowStore() {
  const store = await openSqliteStore(":memory:");
  const reached = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  let isHeld = false;
  const slow: RecordStore = {
    all: (collection) => store.all(collection),
    tail: (journal, limit) => store.tail(journal, limit),
    revision: () => store.revision(),
    close: () => store.close(),
    [Symbol.asyncDispose]: () => store.close(),
    update: async (change) => {
      if (isHeld) {
        reached.resolve();
        await goOn.promise;
      }
      return store.update(change);
    },
  };
  return { store: slow, hold: () => void (isHeld = true), reached: reached.promise, goOn: goOn.resolve };
}

/** An operator that a rule enrols, which takes the store its time; meanwhile the rules become others. */
async function connectDuring(options: GatewayOptions, rules: GatewayRules) {
  const { store, hold, reached, goOn } = await slowStore();
  hold();
  const world = await startGateway({ store, pairing: { autoApproveOperators: "loopback" }, ...options });
  const connecting = world.connect({
    device: makeDevice(),
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes: ["operator.read"],
    auth: { token: sharedToken },
  });
  await reached;
  world.gateway.setRules(rules);
  goOn();
  const { client, response } = await connecting;
  return { world, client, response };
}

test("a token that was changed meanwhile does not let in any more", async () => {
  const { world, client, response } = await connectDuring({}, { auth: { token: "another-token-of-the-test" } });
  await using _world = world;
  expect(at(response.error?.details, "code")).toBe("AUTH_TOKEN_MISMATCH");
  expect((await client.closed).code).toBe(1008);
  expect(world.decisions.items).toMatchObject([{ outcome: "refused", code: "AUTH_TOKEN_MISMATCH" }]);
  const steps = world.decisions.items[0]?.trace.map(({ method, reason }) => `${method}: ${reason}`);
  expect(steps).toContain("gateway: the rules have changed meanwhile");
});

test("rules that would let it in do, and it is told once", async () => {
  const { world, response } = await connectDuring({}, { commands: { deny: ["system.run"] } });
  await using _world = world;
  expect(response).toMatchObject({ ok: true, payload: { auth: { scopes: ["operator.read"], method: "token" } } });
  expect(world.decisions.items).toMatchObject([{ outcome: "admitted", authenticatedBy: "token" }]);
});

test("an invite that was used meanwhile lets its device in all the same", async () => {
  const { store, hold, reached, goOn } = await slowStore();
  await using world = await startGateway({ store });
  const operator = await world.operator();
  const made = await operator.call("device.pair.setupCode", { publicUrl: "ws://127.0.0.1:1" });
  const read = readSetupCode(textAt(made, "setupCode"));
  if ("problem" in read) throw new Error(read.problem);
  hold();
  const device = makeDevice();
  const connecting = world.connect({ device, auth: { bootstrapToken: read.code.bootstrapToken } });
  await reached;
  world.gateway.setRules({ allowedOrigins: ["https://panel.example"] });
  goOn();
  const { response } = await connecting;
  expect(response).toMatchObject({ ok: true, payload: { auth: { method: "bootstrap-token", role: "node" } } });
});
