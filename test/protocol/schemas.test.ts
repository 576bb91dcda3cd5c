/**
 * Every frame of ours against the JSON schemas that the product publishes (@openclaw/gateway-protocol 2026.9.1): a walk through the whole
 * protocol with our own client, node and gateway, and the recorded conversations of the real programs, which ours have to read. What
 * differs on purpose is listed with its reason in support/wire-deviations.ts, and a difference that is gone must leave the list.
 */
import { expect, test } from "vitest";
import { eventNames, methods } from "../../src/protocol/methods.ts";
import { readTranscript, transcriptFiles } from "../fixtures/transcripts.ts";
import { walkTheProtocol } from "../support/whole-walk.ts";
import { ours, theirs } from "../support/wire-deviations.ts";
import { schemaNameOf, WireJudge } from "../support/wire-schemas.ts";

test("whatever our client, node and gateway say to each other fits, but for what is listed", async () => {
  const judge = new WireJudge();
  for (const { connection, value } of await walkTheProtocol()) judge.hear(String(connection), value);
  expect([...judge.findings.keys()].toSorted()).toEqual(Object.keys(ours).toSorted());
  const said = ["connect", ...Object.keys(methods)].flatMap((method) => [`${method} params`, `${method} result`]);
  expect([...judge.heard]).toEqual(expect.arrayContaining([...said, ...eventNames.map((name) => `${name} event`)]));
});

test.each(Object.entries(theirs))("what was recorded of %s fits, but for what is listed", (version, listed) => {
  const judge = new WireJudge();
  const files = transcriptFiles.filter((file) => file.endsWith(`${version}.jsonl`));
  for (const { connection, value } of files.flatMap(readTranscript)) judge.hear(connection, value);
  expect([...judge.findings.keys()].toSorted()).toEqual(Object.keys(listed).toSorted());
  expect(judge.heard.size).toBeGreaterThan(10);
});

test("every transcript is of a version that has a list", () => {
  const versions = Object.keys(theirs);
  expect(transcriptFiles.filter((file) => !versions.some((version) => file.endsWith(`${version}.jsonl`)))).toEqual([]);
});

test("there is a schema for the params of every method of ours that takes any", () => {
  const without = Object.keys(methods).filter((method) => schemaNameOf(`${method} params`) === undefined);
  expect(without).toEqual([
    "health",
    "status",
    "system-presence",
    "gateway.identity.get",
    "device.pair.lookup",
    "device.pair.setupInspect",
    "device.pair.setupList",
    "device.pair.setupWithdraw",
    "device.token.progress",
    "device.token.watch",
    "device.token.delivered",
    "device.key.rotate",
  ]);
});
