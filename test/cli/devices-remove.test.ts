/** devices remove, rename and clear. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { deviatesOnPurpose } from "../support/on-purpose.ts";
import { makeDevice } from "../support/raw-client.ts";
import { type GatewayHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

test("a device goes by its new name at once, and its own name stays known", async () => {
  const device = await home.pair({ displayName: "old-name" });
  expect(await home.ask(`devices rename old-name 'new name' --json`)).toMatchObject({
    code: 0,
    json: { ok: true, deviceId: device.id, label: "new name" },
  });
  expect((await home.ask("devices list")).stdout).toContain("new name");
  expect(await home.ask(`devices rename 'new name' newer-name`)).toMatchObject({
    code: 0,
    stdout: `Renamed ${device.id} to newer-name\n`,
  });
});

test("a name that is too long is refused, and nothing changes", async () => {
  deviatesOnPurpose({
    "device.pair.rename params /label must NOT have more than 64 characters":
      "how long a name may be is the gateway's to say",
  });
  const device = await home.pair({ displayName: "short" });
  expect((await home.ask(`devices rename short ${"x".repeat(65)} --json`)).code).not.toBe(0);
  const list = await home.ask("devices list");
  expect(list.stdout).toContain(device.id);
  expect(list.stdout).not.toContain("xxxx");
});

test("a removed device has to ask again", async () => {
  const device = await home.pair({ displayName: "gone" });
  expect(await home.ask("devices remove gone --json")).toMatchObject({
    code: 0,
    json: { ok: true, deviceId: device.id },
  });
  expect((await home.connect({ device })).response.error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  expect(await home.ask("devices remove gone --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});

test("a removed node is sent away, and waits for approval again", async () => {
  const node = await home.node("kitchen");
  const from = node.running.events.items.length;
  expect(await home.ask("devices remove kitchen")).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^Removed [0-9a-f]{64}\n$/u),
  });
  const asked = await node.running.event("pairing-required", from);
  expect(asked).toMatchObject({ layer: "device" });
});

test("clear without --yes is refused; --pending leaves the paired ones alone; --yes removes all", async () => {
  await using own = await startGatewayHome();
  const kept = await own.pair({ displayName: "kept" });
  const requestId = await own.request({ device: makeDevice() });
  expect(await own.ask("devices clear --json")).toMatchObject({
    code: 2,
    json: { error: { hint: expect.stringContaining("--yes") } },
  });
  expect(await own.ask("devices clear --pending --yes --json")).toMatchObject({
    code: 0,
    json: { ok: true, rejected: [requestId], removed: [] },
  });
  expect(await own.ask("devices list --json")).toMatchObject({
    json: { pending: [], paired: [{ deviceId: kept.id }] },
  });
  expect(await own.ask("devices clear --yes --json")).toMatchObject({
    code: 0,
    json: { rejected: [], removed: [kept.id] },
  });
  expect(await own.ask("devices clear --yes")).toMatchObject({
    code: 0,
    stdout: "Rejected 0 requests, removed 0 devices\n",
  });
});
