/** node run and node status. */
import { readdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fingerprint } from "../../src/identity/fingerprint.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { at, textAt } from "../support/raw-client.ts";
import { type CliEvent, CliHome } from "../support/run-cli.ts";
import { freePort } from "../support/sshd.ts";
import { startRelay } from "../support/relay.ts";
import { impatient } from "../support/world.ts";
import { type GatewayHome, NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

/** The command of a request as it is typed on the gateway's host, which listens on a port of the test's. */
function onItsHost(request: CliEvent): string {
  return `${textAt(request, "approve")} --port ${home.port}`;
}

test("a node asks for both approvals with commands that work when they are pasted, then serves, and ends with stopped", async () => {
  await using node = new NodeHome(home, "--display-name kitchen");
  const { running } = node;
  expect(await running.event("connecting")).toEqual({ event: "connecting", url: `${home.url}/` });
  const device = await running.event("pairing-required", 0, { layer: "device" });
  const deviceId = textAt(device, "deviceId");
  expect(device).toEqual({
    event: "pairing-required",
    requestId: expect.any(String),
    deviceId,
    fingerprint: fingerprint(deviceId),
    layer: "device",
    sas: { digits: expect.stringMatching(/^\d{6}$/u), words: expect.any(String) },
    approve: `openclaw devices approve ${textAt(device, "requestId")}`,
  });
  await succeed(home.paste(onItsHost(device)));
  const surface = await running.event("pairing-required", 0, { layer: "surface" });
  expect(surface).toMatchObject({
    deviceId,
    layer: "surface",
    approve: `openclaw nodes approve ${textAt(surface, "requestId")}`,
  });
  await succeed(home.paste(onItsHost(surface)));
  expect(await running.event("ready")).toEqual({
    event: "ready",
    deviceId,
    connId: expect.any(String),
    protocol: 4,
    gatewayVersion: expect.any(String),
    commands: expect.arrayContaining(["system.run", "system.which"]),
  });
  await succeed(home.ask("nodes invoke kitchen system.info"));
  expect(await running.event("invoke")).toMatchObject({
    command: "system.info",
    ok: true,
    durationMs: expect.any(Number),
    id: expect.any(String),
  });
  const { code, stdout } = await running.stop();
  expect(code).toBe(0);
  expect(stdout.trim().split("\n").at(-1)).toMatch(/^\{"event":"stopped","reason":/u);
});

test("started again it is let in at once, by the device token that it was given", async () => {
  await using node = new NodeHome(home, "--display-name returning");
  const { requestId } = await node.running.event("pairing-required");
  await succeed(home.ask(`pair approve ${String(requestId)} --surface`));
  await node.running.event("ready");
  await node.running.stop();
  await using again = node.start(`node run --json --port ${home.port}`);
  await again.event("ready");
  expect(again.events.items.map(({ event }) => event)).toEqual(["connecting", "ready"]);
});

test("people read a fingerprint, and the command to paste", async () => {
  using machine = new CliHome();
  await using running = machine.start(`node run --port ${home.port} --display-name legible`, {
    env: { OPENCLAW_GATEWAY_TOKEN: home.token },
  });
  expect(await running.lines.find((line) => line.includes("waits for approval"))).toBe(
    "this device waits for approval",
  );
  expect(await running.lines.find((line) => line.includes("fingerprint"))).toMatch(
    /^ {2}fingerprint {2}([0-9a-f]{4}:){4}[0-9a-f]{4}$/u,
  );
  expect(await running.lines.find((line) => line.includes("approve "))).toMatch(
    /on the gateway's host: openclaw devices approve [0-9a-f-]{36}$/u,
  );
  const here = await running.lines.find((line) => line.includes("from here"));
  expect(here).toMatch(new RegExp(`or from here: openclaw devices approve [0-9a-f-]{36} --port ${home.port}$`, "u"));
  // The same shell: the same environment, and nothing added.
  const command = here.slice(here.indexOf("openclaw ") + "openclaw ".length);
  expect(await machine.run(command, { env: { OPENCLAW_GATEWAY_TOKEN: home.token } })).toMatchObject({ code: 0 });
});

test("--no-wait ends with exit code 5 at the first request, of either layer", async () => {
  using machine = new CliHome();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  const line = `node run --no-wait --json --port ${home.port} --display-name hasty`;
  const device = await machine.run(line, { env });
  expect(device.code).toBe(5);
  const [asked, failure] = [
    eventsOf(device.stdout).find(({ event }) => event === "pairing-required"),
    eventsOf(device.stdout).at(-1),
  ];
  expect(failure).toMatchObject({
    ok: false,
    error: { code: "pairing-required", fix: `${String(asked?.["approve"])} --port ${home.port}` },
  });
  await succeed(home.paste(at(failure, "error", "fix")));
  const surface = await machine.run(line, { env });
  expect(surface.code).toBe(5);
  expect(eventsOf(surface.stdout).at(-1)).toMatchObject({ ok: false, error: { code: "surface-approval-required" } });
});

test("--approval-timeout ends the wait with exit code 5", async () => {
  await using node = new NodeHome(home, "--display-name ignored --approval-timeout 1ms");
  const { code, stdout } = await node.running.ended;
  expect(code).toBe(5);
  expect(eventsOf(stdout).at(-1)).toMatchObject({
    error: { code: "pairing-required", message: "nobody approved this node in time" },
  });
});

test("a rejected device ends with exit code 5 and the reason", async () => {
  await using node = new NodeHome(home, "--display-name unwanted");
  const { requestId } = await node.running.event("pairing-required");
  await succeed(home.ask(`devices reject ${String(requestId)} --reason 'not today'`));
  const { code, stdout } = await node.running.ended;
  expect(code).toBe(5);
  expect(eventsOf(stdout).at(-1)).toMatchObject({ ok: false, error: { code: "pairing-rejected" } });
  expect(stdout).toContain("not today");
});

test("a wrong token ends with exit code 4", async () => {
  await using node = new NodeHome({ port: home.port, token: "wrong" });
  const { code, stdout } = await node.running.ended;
  expect(code).toBe(4);
  expect(eventsOf(stdout).slice(-2)).toMatchObject([
    { event: "stopped" },
    { ok: false, error: { code: "token-mismatch" } },
  ]);
});

test("a gateway that is not there yet is waited for", async () => {
  const port = await freePort();
  await using node = new NodeHome({ port, token: home.token }, "--display-name early");
  expect(await node.running.event("disconnected")).toEqual({
    event: "disconnected",
    code: "unreachable",
    reason: expect.any(String),
    retryInMs: expect.any(Number),
  });
  using late = new CliHome();
  const tokenFile = late.path("token");
  writeFileSync(tokenFile, home.token);
  await using gateway = late.start(`gateway run --json --port ${port} --token-file ${tokenFile}`);
  await gateway.event("ready");
  await node.running.event("pairing-required");
});

test("a gateway that is restarted gets its node back, and so does a line that broke", async () => {
  await using own = await startGatewayHome();
  await using relay = await startRelay(own.port);
  await using node = new NodeHome({ port: relay.port, token: own.token }, "--display-name loyal");
  const { requestId } = await node.running.event("pairing-required");
  await succeed(own.ask(`pair approve ${String(requestId)} --surface`));
  let from = node.running.events.items.length;
  relay.cut();
  await node.running.event("ready", from);
  from = node.running.events.items.length;
  await own.gateway.stop();
  await node.running.event("disconnected", from);
  await using again = own.start("gateway run --json --port 0");
  relay.pointTo(Number((await again.event("ready"))["port"]));
  expect(await node.running.event("ready", from)).toMatchObject({ commands: expect.arrayContaining(["system.run"]) });
});

test("status says what runs, in which state, and which gateways know this machine", async () => {
  using machine = new CliHome();
  expect(await machine.run("node status --json")).toMatchObject({
    code: 0,
    json: { ok: true, deviceId: null, running: [], gateways: [] },
  });
  expect((await machine.run("node status")).stdout).toContain("none yet (openclaw identity create)");
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using running = machine.start(`node run --json --port ${home.port} --display-name observed`, {
    env,
    runtime: impatient(systemRuntime),
  });
  const { requestId, deviceId } = await running.event("pairing-required");
  await succeed(home.ask(`pair approve ${String(requestId)} --surface`));
  await running.event("ready");
  await expect
    .poll(() => machine.run("node status --json"), { timeout: 30_000 })
    .toMatchObject({
      json: {
        deviceId,
        fingerprint: fingerprint(String(deviceId)),
        running: [{ pid: process.pid, gateway: `${home.url}/`, state: "ready", startedAtMs: expect.any(Number) }],
        gateways: [
          {
            gateway: home.url,
            digest: expect.stringMatching(/^sha256:[0-9a-f]{8}$/u),
            updatedAtMs: expect.any(Number),
          },
        ],
      },
    });
  expect((await machine.run("node status")).stdout).toMatch(
    new RegExp(`running {6}pid ${process.pid}, ready, ${home.url}/`, "u"),
  );
  await running.stop();
  expect(await machine.run("node status --json")).toMatchObject({ json: { deviceId, running: [] } });
  expect(readdirSync(machine.path(".openclaw/toolkit/run"))).toEqual([]);
});

test("no secret is in any output of a node, not even with --debug", async () => {
  using machine = new CliHome();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using running = machine.start(`node run --debug --json --port ${home.port} --display-name discreet`, {
    env,
    runtime: impatient(systemRuntime),
  });
  const { requestId } = await running.event("pairing-required");
  await succeed(home.ask(`pair approve ${String(requestId)} --surface`));
  await running.event("ready");
  const { stdout, stderr } = await running.stop();
  const listed = await machine.run("node status --json");
  expect(stdout + stderr + listed.stdout).not.toContain(home.token);
});

function eventsOf(stdout: string): readonly Readonly<Record<string, unknown>>[] {
  return stdout
    .trim()
    .split("\n")
    .map((line): Readonly<Record<string, unknown>> => JSON.parse(line));
}
