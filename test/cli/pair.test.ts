import { afterAll, beforeAll, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { fingerprint } from "../../src/identity/fingerprint.ts";
import { makeDevice, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { impatient } from "../support/world.ts";
import { type GatewayHome, NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

/** Another machine that has the gateway's token. */
function laptop(): CliHome & { ask(line: string): ReturnType<CliHome["run"]> } {
  const machine = new CliHome();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  return Object.assign(machine, { ask: (line: string) => machine.run(`${line} --port ${home.tunnelPort}`, { env }) });
}

test("a request prints its code and the command that approves it; once approved, it says so", async () => {
  using machine = laptop();
  const asked = await machine.ask("pair request --scope operator.pairing --display-name lap --json");
  expect(asked).toMatchObject({
    code: 0,
    json: {
      ok: true,
      paired: false,
      role: "operator",
      requestId: expect.any(String),
      code: expect.any(String),
      deviceId: expect.stringMatching(/^[0-9a-f]{64}$/u),
      fingerprint: expect.any(String),
      layer: "device",
    },
  });
  await succeed(home.paste(textAt(asked.json, "approve")));
  expect(await machine.ask("pair request --json")).toMatchObject({ code: 0, json: { ok: true, paired: true } });
  expect(await machine.run(`pair request --port ${home.tunnelPort}`)).toMatchObject({
    code: 0,
    stdout: "This machine is paired as operator\n",
  });
});

test("on the gateway's own machine, who has the gateway's token is taken for the gateway itself as an operator, but waits as a node", async () => {
  await using own = await startGatewayHome();
  using neighbour = new CliHome();
  const env = { OPENCLAW_GATEWAY_TOKEN: own.token };
  expect(await neighbour.run(`pair request --json --port ${own.port}`, { env })).toMatchObject({
    code: 0,
    json: { paired: false },
  });
  const node = await neighbour.run(`pair request --role node --json --port ${own.port}`, { env });
  expect(node).toMatchObject({ code: 0, json: { paired: false, role: "node" } });
});

test("a machine that only asked may not do anything yet", async () => {
  using machine = laptop();
  const asked = await machine.ask("pair request --json");
  const direct = await machine.run(`nodes list --json --port ${home.tunnelPort}`);
  expect(direct.code).not.toBe(0);
  await home.ask(`pair reject ${textAt(asked.json, "requestId")}`);
});

test("--wait returns when somebody has approved", async () => {
  using machine = laptop();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using waiting = machine.start(`pair request --role node --wait --json --port ${home.tunnelPort}`, {
    env,
    runtime: impatient(systemRuntime),
  });
  const note = await waiting.talk.find((line) => line.includes("openclaw devices approve"));
  await succeed(home.paste(note.slice(note.indexOf("openclaw devices"))));
  expect(await waiting.ended).toMatchObject({ code: 0, json: { ok: true, paired: true, role: "node" } });
});

test("--wait ends with exit code 5 when the request is rejected", async () => {
  using machine = laptop();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using waiting = machine.start(`pair request --role node --wait --json --port ${home.tunnelPort}`, {
    env,
    runtime: impatient(systemRuntime),
  });
  const note = await waiting.talk.find((line) => line.includes("openclaw devices approve"));
  const requestId = note.trim().split(" ").at(-1) ?? "";
  await succeed(home.ask(`devices reject ${requestId}`));
  expect(await waiting.ended).toMatchObject({ code: 5, json: { ok: false, error: { code: "pairing-rejected" } } });
});

test("--wait is ended by a signal with the signal's exit code", async () => {
  using machine = laptop();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using waiting = machine.start(`pair request --role node --wait --port ${home.tunnelPort}`, { env });
  await waiting.talk.find((line) => line.includes("openclaw devices approve"));
  expect(await waiting.stop("SIGINT")).toMatchObject({ code: 130, stdout: "" });
});

test("the list has both layers, the newest first", async () => {
  await using own = await startGatewayHome();
  expect(await own.ask("pair list")).toMatchObject({ code: 0, stdout: "Nothing waits for approval.\n" });
  expect(await own.ask("pair list --json")).toMatchObject({ code: 0, json: { ok: true, pending: [] } });
  await using node = new NodeHome(own, "--display-name study");
  const { requestId: first } = await node.running.event("pairing-required");
  await succeed(own.ask(`pair approve ${String(first)}`));
  const surface = await node.running.event("pairing-required", 0, { layer: "surface" });
  const device = makeDevice();
  const requestId = await own.request({ device, displayName: "pantry" });
  const { json } = await own.ask("pair list --json");
  expect(json).toMatchObject({
    pending: [
      { requestId, deviceId: device.id, displayName: "pantry", layer: "device", fingerprint: fingerprint(device.id) },
      { requestId: surface["requestId"], deviceId: surface["deviceId"], layer: "surface", commands: expect.any(Array) },
    ],
  });
  const { stdout } = await own.ask("pair list");
  for (const id of [requestId, String(surface["requestId"])]) expect(stdout).toContain(id);
  expect(await own.ask(`pair approve ${String(surface["requestId"])} --json`)).toMatchObject({
    code: 0,
    json: { ok: true, layer: "surface" },
  });
  await node.running.event("ready");
});

test("--surface returns when the node can really be invoked", async () => {
  await using node = new NodeHome(home, "--display-name garage");
  const { requestId } = await node.running.event("pairing-required");
  const approved = await home.ask(`pair approve ${String(requestId)} --surface --json`);
  expect(approved).toMatchObject({
    code: 0,
    json: { ok: true, requestId, layer: "device", commands: expect.arrayContaining(["system.run"]) },
  });
  expect(await home.ask("nodes invoke garage system.info")).toMatchObject({ code: 0 });
});

test("--surface for a node that does not come back ends with what to do", async () => {
  const requestId = await home.request({ device: makeDevice(), displayName: "vanished" });
  expect(await home.ask(`pair approve ${requestId} --surface --timeout 300ms --json`)).toMatchObject({
    code: 3,
    json: { error: { code: "node-offline", hint: expect.stringContaining("openclaw node run") } },
  });
});

test("the newest request is only shown, until --yes", async () => {
  await using own = await startGatewayHome();
  expect(await own.ask("pair approve --json")).toMatchObject({ code: 9, json: { error: { code: "not-found" } } });
  const requestId = await own.request({ device: makeDevice() });
  expect(await own.ask("pair approve --latest --json")).toMatchObject({
    code: 5,
    json: { error: { code: "approval-unconfirmed", fix: `openclaw pair approve ${requestId} --port ${own.port}` } },
  });
  expect(await own.ask("pair approve --latest --yes --json")).toMatchObject({ code: 0, json: { requestId } });
});

test("a request of either layer can be rejected", async () => {
  const requestId = await home.request({ device: makeDevice(), displayName: "stranger" });
  expect(await home.ask("pair reject stranger --reason 'who is this' --json")).toMatchObject({
    code: 0,
    json: { ok: true, requestId, layer: "device" },
  });
  expect(await home.ask(`pair reject ${requestId} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
  await using node = new NodeHome(home, "--display-name loft");
  const { requestId: first } = await node.running.event("pairing-required");
  await succeed(home.ask(`pair approve ${String(first)}`));
  const surface = await node.running.event("pairing-required", 0, { layer: "surface" });
  expect(await home.ask(`pair reject ${String(surface["requestId"])} --json`)).toMatchObject({
    code: 0,
    json: { layer: "surface" },
  });
  expect((await node.running.ended).code).toBe(5);
});
