/** Who tries too many wrong credentials (auth.md § 5), on the WebSocket and over HTTP. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { makeDevice, type Message, type RawConnect, UpgradeRefused } from "../support/raw-client.ts";
import { sharedToken, startGateway, type World } from "../support/world.ts";

const localCaller = join(import.meta.dirname, "../support/local-caller.ts");
const from = (address: string) => ({ "X-Forwarded-For": address });
/** A gateway behind a proxy on this machine, so that addresses can be told apart. */
const behindProxy = { trustedProxies: ["127.0.0.1"] } as const;

async function attempt(world: World, options: RawConnect, headers: Record<string, string> = {}): Promise<Message> {
  const { client, response } = await world.connect({ device: makeDevice(), ...options }, headers);
  client.socket.terminate();
  await client.closed;
  return response;
}

async function lockOut(world: World, options: RawConnect, headers: Record<string, string> = {}): Promise<void> {
  for (let wrong = 0; wrong < 20; wrong++) {
    const { error } = await attempt(world, options, headers);
    expect(error?.details).not.toMatchObject({ code: "AUTH_RATE_LIMITED" });
  }
}

test("after twenty wrong tokens the address has to wait, with the right one too, and its log says why", async () => {
  await using world = await startGateway(behindProxy);
  await lockOut(world, { auth: { token: "wrong" } }, from("192.0.2.1"));
  const { error } = await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.1"));
  expect(error).toMatchObject({
    retryable: true,
    retryAfterMs: expect.any(Number),
    details: { code: "AUTH_RATE_LIMITED" },
  });
  const line = world.runtime.lines.items.findLast(({ message }) => message === "auth failed");
  expect(line?.fields).toMatchObject({ remote: "192.0.2.1", code: "AUTH_RATE_LIMITED" });
  world.runtime.advance(300_000);
  expect((await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.1"))).error?.details).toMatchObject({
    code: "PAIRING_REQUIRED",
  });
});

test("another address is not concerned, and neither is another kind of credential", async () => {
  await using world = await startGateway(behindProxy);
  await lockOut(world, { auth: { token: "wrong" } }, from("192.0.2.1"));
  const elsewhere = await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.2"));
  expect(elsewhere.error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  const password = await attempt(world, { auth: { password: "wrong" } }, from("192.0.2.1"));
  expect(password.error?.details).toMatchObject({ code: "AUTH_PASSWORD_MISMATCH" });
});

test("a right one takes the wrong ones back", async () => {
  await using world = await startGateway(behindProxy);
  for (let time = 0; time < 3; time++) {
    for (let wrong = 0; wrong < 15; wrong++) await attempt(world, { auth: { token: "wrong" } }, from("192.0.2.1"));
    const { error } = await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.1"));
    expect(error?.details).toMatchObject({ code: "PAIRING_REQUIRED" });
  }
});

test("who shows nothing is not counted", async () => {
  await using world = await startGateway(behindProxy);
  for (let time = 0; time < 25; time++) await attempt(world, {}, from("192.0.2.1"));
  expect((await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.1"))).error?.details).toMatchObject({
    code: "PAIRING_REQUIRED",
  });
});

test("the upgrade is refused with 429, when to come again, and the words that programs look for", async () => {
  await using world = await startGateway(behindProxy);
  const headers = { ...from("192.0.2.1"), Authorization: "Bearer wrong" };
  for (let wrong = 0; wrong < 20; wrong++) await expect(world.open(headers)).rejects.toMatchObject({ status: 401 });
  const refused = await world.open(headers).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(UpgradeRefused);
  expect(refused).toMatchObject({ status: 429, headers: { "retry-after": expect.stringMatching(/^\d+$/u) } });
  expect(JSON.parse(refused instanceof UpgradeRefused ? refused.body : "{}")).toMatchObject({
    error: { message: expect.any(String), type: "rate_limited" },
  });
});

test("the owner of the host is never locked out", async () => {
  await using world = await startGateway();
  await lockOut(world, { auth: { token: "wrong" } });
  expect((await attempt(world, { auth: { token: sharedToken } })).error?.details).toMatchObject({
    code: "AUTH_RATE_LIMITED",
  });
  const { stdout } = await promisify(execFile)(process.execPath, [localCaller, world.url, sharedToken, "direct"]);
  expect(stdout).toBe("in: operator.read\n");
});

test("a storm from thousands of addresses takes bounded memory, and frees nobody", async () => {
  await using world = await startGateway(behindProxy);
  await lockOut(world, { auth: { token: "wrong" } }, from("192.0.2.1"));
  const storm = Array.from({ length: 200 }, (_, at) => from(`198.51.${at >> 8}.${at & 255}`));
  for (let start = 0; start < storm.length; start += 20) {
    await Promise.all(
      storm.slice(start, start + 20).map((headers) => attempt(world, { auth: { token: "wrong" } }, headers)),
    );
  }
  expect((await attempt(world, { auth: { token: sharedToken } }, from("192.0.2.1"))).error?.details).toMatchObject({
    code: "AUTH_RATE_LIMITED",
  });
});

test("over HTTP too: 429, when to come again, and the shape that clients know", async () => {
  await using world = await startGateway(behindProxy);
  const ask = (token: string) =>
    fetch(`${world.httpUrl}/metrics`, { headers: { ...from("192.0.2.1"), "X-OpenClaw-Token": token } });
  for (let wrong = 0; wrong < 20; wrong++) expect((await ask("wrong")).status).toBe(401);
  const refused = await ask(sharedToken);
  expect(refused.status).toBe(429);
  expect(refused.headers.get("retry-after")).toMatch(/^\d+$/u);
  expect(await refused.json()).toMatchObject({ error: { message: expect.any(String), type: "rate_limited" } });
});
