/**
 * Every frame of ours against the JSON schemas that the product publishes (@openclaw/gateway-protocol 2026.9.1): a walk through the whole
 * protocol with our own client, node and gateway, and the recorded conversations of the real programs, which ours have to read. What
 * differs on purpose is listed here with its reason, and a difference that is gone must leave the list.
 */
import { expect, test } from "vitest";
import { eventNames, methods } from "../../src/protocol/methods.ts";
import { readTranscript, transcriptFiles } from "../fixtures/transcripts.ts";
import { walkTheProtocol } from "../support/whole-walk.ts";
import { schemaNameOf, WireJudge } from "../support/wire-schemas.ts";

type Deviations = Readonly<Record<string, string>>;

/** What the product's own 2026.9.6 says too, although the schemas of 2026.9.1 are closed and lack it. */
const newerThanTheSchemas: Deviations = {
  "connect result /auth/method is not in the schema": "says by which credential the caller came in",
  "connect result /snapshot/presence/*/clientId is not in the schema": "tells one program of a machine from another",
  "presence event /* /clientId is not in the schema": "as in the snapshot",
};

/** What we say otherwise than the schemas, and why. Clients ignore fields that they do not know (transcripts of all versions). */
const ours: Deviations = {
  ...newerThanTheSchemas,
  "system-presence result /* /clientId is not in the schema": "as in the snapshot",
  "connect result /auth/removedScopes is not in the schema": "no scope is taken away in silence",
  "connect result /auth/removedScopesReason is not in the schema": "no scope is taken away in silence",
  "connect result /snapshot/node is not in the schema": "a node learns at once whether its command list waits",
  "device.pair.requested event /reason is not in the schema": "says why a device that is known asks again",
  "device.pair.reject params /reason is not in the schema":
    "goes only to gateways with the capability pair-reject-reason",
  "node.pair.reject params /reason is not in the schema":
    "goes only to gateways with the capability pair-reject-reason",
  "node.invoke.request event /paramsJSON must be string": "null for no params (protocol.md § 7.3)",
};

/** What the real programs say otherwise than the schemas of 2026.9.1, by the version that was recorded. */
const theirs: Readonly<Record<string, Deviations>> = {
  "2026.3.8": {
    "connect result /auth is missing": "there was none for callers without a device",
    "connect result /canvasHostUrl is not in the schema": "was dropped later",
    "node.event result /event is missing": "came later",
    "node.event result /handled is missing": "came later",
  },
  "2026.5.27": {},
  "2026.9.6": {
    ...newerThanTheSchemas,
    "connect result /controlUiLinkReaders is not in the schema": "came later",
    "connect result /snapshot/health/eventLoop/cpuBreakdown is not in the schema": "came later",
  },
};

test("whatever our client, node and gateway say to each other fits, but for what is listed", async () => {
  const judge = new WireJudge();
  for (const { connection, value } of await walkTheProtocol()) judge.hear(String(connection), value);
  expect([...judge.findings].toSorted()).toEqual(Object.keys(ours).toSorted());
  const said = ["connect", ...Object.keys(methods)].flatMap((method) => [`${method} params`, `${method} result`]);
  expect([...judge.heard]).toEqual(expect.arrayContaining([...said, ...eventNames.map((name) => `${name} event`)]));
});

test.each(Object.entries(theirs))("what was recorded of %s fits, but for what is listed", (version, listed) => {
  const judge = new WireJudge();
  const files = transcriptFiles.filter((file) => file.endsWith(`${version}.jsonl`));
  for (const { connection, value } of files.flatMap(readTranscript)) judge.hear(connection, value);
  expect([...judge.findings].toSorted()).toEqual(Object.keys(listed).toSorted());
  expect(judge.heard.size).toBeGreaterThan(10);
});

test("every transcript is of a version that has a list", () => {
  const versions = Object.keys(theirs);
  expect(transcriptFiles.filter((file) => !versions.some((version) => file.endsWith(`${version}.jsonl`)))).toEqual([]);
});

test("there is a schema for the params of every method of ours that takes any", () => {
  const without = Object.keys(methods).filter((method) => schemaNameOf(`${method} params`) === undefined);
  expect(without).toEqual(["health", "status", "system-presence", "gateway.identity.get"]);
});
