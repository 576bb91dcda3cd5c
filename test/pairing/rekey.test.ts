import { expect, test } from "vitest";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { rekeyDevice, rekeySurfaceRequest } from "../../src/pairing/rekey.ts";
import { issueToken, reissuableToken } from "../../src/pairing/tokens.ts";

const gatewayKey = new Uint8Array(32).fill(1);
const bare: DeviceRecord = {
  deviceId: "old",
  publicKey: "old-key",
  operatorLabel: "the kitchen",
  clientId: "node-host",
  clientMode: "node",
  roles: ["node", "operator"],
  scopes: ["operator.read"],
  tokens: {},
  surface: { caps: ["system"], commands: ["system.which"], createdAtMs: 1, approvedAtMs: 2 },
  createdAtMs: 1,
  approvedAtMs: 2,
  approvedVia: "owner",
};
const { device, token } = issueToken(bare, { gatewayKey, role: "node", scopes: [], salt: "salt", nowMs: 3 });
const second = { deviceId: "second", publicKey: "second-key" };
const third = { deviceId: "third", publicKey: "third-key" };

test("only the key and the id change", () => {
  const { tokens: before, ...rest } = device;
  const { tokens, ...rekeyed } = rekeyDevice(device, second);
  expect(rekeyed).toEqual({ ...rest, ...second, formerDeviceIds: ["old"] });
  expect(tokens).toEqual({ node: { ...before["node"], derivedFor: "old" } });
});

test("the token can be derived again after any number of keys", () => {
  const rekeyed = rekeyDevice(rekeyDevice(device, second), third);
  expect(reissuableToken(gatewayKey, rekeyed, "node")).toBe(token);
  expect(rekeyed.formerDeviceIds).toEqual(["old", "second"]);
});

test("a token that is issued after it is the new id's", () => {
  const issued = issueToken(rekeyDevice(device, second), {
    gatewayKey,
    role: "node",
    scopes: [],
    salt: "s2",
    nowMs: 4,
  });
  expect(issued.record.derivedFor).toBeUndefined();
  expect(reissuableToken(gatewayKey, issued.device, "node")).toBe(issued.token);
});

test("a request for a command list waits on under the new id", () => {
  const request = {
    requestId: "r",
    nodeId: "old",
    clientId: "node-host",
    clientMode: "node",
    platform: "linux",
    version: "1",
    caps: [],
    commands: [],
    ts: 1,
  };
  expect(rekeySurfaceRequest(request, second)).toEqual({ ...request, nodeId: "second" });
});
