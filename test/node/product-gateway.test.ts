/** What gateways of 2026.9.6 say differently to a node, and what the node makes of it. */
import { expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { isRevocation } from "../../src/node/final-failure.ts";
import { type Answer, hello, startScriptedGateway } from "../client/scripted-gateway.ts";
import { startNode } from "../support/node-host.ts";

const ok: Answer = { ok: true, payload: {} };
const waiting = refused(
  "UNAVAILABLE",
  "node capability surface is awaiting operator approval; run `openclaw nodes approve r-1` (see `openclaw nodes pending`), then this node retries automatically",
);
const gone = refused("UNAVAILABLE", "node runner inventory publication is not current; retry after pairing completes");
const changing = refused("UNAVAILABLE", "node pairing changed before request dispatch", { code: "PAIRING_CHANGED" });
const stopping = refused("UNAVAILABLE", "node.runnerInventory.update unavailable during gateway restart", {
  method: "node.runnerInventory.update",
  reason: "gateway-restarting",
});
const unheardOf = refused("INVALID_REQUEST", "unauthorized role: node");
const starting = refused("UNAVAILABLE", "gateway starting; retry shortly", { reason: "startup-sidecars" });
const welcome: Answer = withProtocol(4);

function refused(code: string, message: string, details?: unknown): Answer {
  return { ok: false, error: { code, message, ...(details === undefined ? {} : { details }) } };
}

function withProtocol(protocol: number): Answer {
  const answer = hello([]);
  return answer.ok ? { ok: true, payload: Object.assign({}, answer.payload, { protocol }) } : answer;
}

/** A gateway that gives these answers one after the other, the last one for ever. */
function startGateway(connect: readonly Answer[], surface: readonly Answer[]) {
  const turns = { connect: 0, surface: 0 };
  return startScriptedGateway((method) =>
    method === "connect"
      ? (connect[turns.connect++] ?? connect.at(-1) ?? ok)
      : (surface[turns.surface++] ?? surface.at(-1) ?? ok),
  );
}

test.each<[when: string, protocol: number, surface: readonly Answer[], told: readonly string[]]>([
  ["is approved already", 4, [ok], ["ready"]],
  [
    "waits for an approval that then comes",
    4,
    [waiting, waiting, ok],
    ["pairing-required r-1", "approved r-1", "ready"],
  ],
  [
    "waits, while the gateway says something else",
    4,
    [waiting, unheardOf, gone, ok],
    ["pairing-required r-1", "approved r-1", "ready"],
  ],
  [
    "waits, while the gateway is about to stop",
    4,
    [waiting, stopping, stopping, stopping, ok],
    ["pairing-required r-1", "approved r-1", "ready"],
  ],
  ["is asked for at a gateway that is about to stop", 4, [stopping, stopping, ok], ["ready"]],
  [
    "waits, and is not spoken of for a moment",
    4,
    [waiting, gone, waiting, ok],
    ["pairing-required r-1", "approved r-1", "ready"],
  ],
  ["is still being written down", 4, [changing, gone, ok], ["ready"]],
  ["means nothing to the gateway", 4, [unheardOf], ["ready"]],
  ["needs no approval, as with protocol 3", 3, [waiting], ["ready"]],
])("a command list that %s", async (_when, protocol, surface, told) => {
  await using gateway = await startGateway([withProtocol(protocol)], surface);
  await using node = startNode(gateway.url);
  await node.event("ready");
  const shown = node.events.items.filter(({ event }) => event !== "connecting");
  expect(shown.map((event) => ("requestId" in event ? `${event.event} ${event.requestId}` : event.event))).toEqual(
    told,
  );
});

test("a command list whose request is gone and stays away was rejected", async () => {
  await using gateway = await startGateway([welcome], [waiting, gone]);
  await using node = startNode(gateway.url);
  expect(await node.event("pairing-required")).toMatchObject({
    layer: "surface",
    approve: "openclaw nodes approve r-1",
  });
  expect(await node.ended).toMatchObject({ code: "pairing-rejected" });
});

test("with wait off, a command list that waits is the end", async () => {
  await using gateway = await startGateway([welcome], [waiting]);
  await using node = startNode(gateway.url, { wait: false });
  expect(await node.ended).toMatchObject({ code: "surface-approval-required", details: { requestId: "r-1" } });
});

test("a gateway that is still starting is asked again", async () => {
  await using gateway = await startGateway([starting, starting, welcome], [ok]);
  await using node = startNode(gateway.url);
  await node.event("ready");
  const codes = node.events.items.filter((event) => event.event === "disconnected").map(({ code }) => code);
  expect(codes).toEqual(["starting", "starting"]);
});

test.each<[what: string, details: Readonly<Record<string, unknown>>, want: boolean]>([
  ["the role of a known device is asked for", { reason: "role-upgrade" }, true],
  ["the gateway says when it revoked the token", { reason: "not-paired", revokedAtMs: 1 }, true],
  ["the device is not known any more", { reason: "not-paired" }, false],
])("whether it is a revocation when %s", (_what, details, want) => {
  expect(isRevocation(new OpenClawError("pairing-required", "pairing required", { details }))).toBe(want);
});
