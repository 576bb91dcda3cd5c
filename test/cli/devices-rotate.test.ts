/** devices rotate and revoke. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { at, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { impatient } from "../support/world.ts";
import { type GatewayHome, type NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
let node: NodeHome;
let deviceId: string;
beforeAll(async () => {
  home = await startGatewayHome();
  node = await home.node("kitchen");
  deviceId = String((await node.running.event("ready"))["deviceId"]);
});
afterAll(() => home[Symbol.asyncDispose]());

test.each(["kitchen --role node", "--device kitchen", "--device ID --role node", "PREFIX", "kitchen --device kitchen"])(
  "rotate %s: the node takes the new token in and proves it, and its session goes on",
  async (words) => {
    const from = node.running.events.items.length;
    const before = storedToken(node);
    const line = `devices rotate ${words.replace("ID", deviceId).replace("PREFIX", deviceId.slice(0, 8))} --json`;
    const { code, json, stdout } = await home.ask(line);
    expect({ code, json }).toMatchObject({
      code: 0,
      json: {
        ok: true,
        deviceId,
        role: "node",
        scopes: [],
        rotatedAtMs: expect.any(Number),
        overlapUntilMs: expect.any(Number),
        state: "confirmed",
        delivered: true,
      },
    });
    expect(stdout).not.toContain('"token"');
    expect(storedToken(node)).not.toBe(before);
    expect(stdout).not.toContain(storedToken(node));
    expect(await home.ask('nodes invoke kitchen system.which --params \'{"bins":["sh"]}\' --json')).toMatchObject({
      code: 0,
    });
    expect(node.running.events.items.slice(from)).toMatchObject([{ event: "invoke" }]);
  },
);

test("people read how far it has come", async () => {
  const { stdout } = await home.ask("devices rotate kitchen");
  expect(stdout).toBe(
    `Rotated the node token of ${deviceId}; confirmed: it uses the new one, and the old one is void\n`,
  );
});

test("--now ends the old token at once; a connected node moves all the same", async () => {
  const from = node.running.events.items.length;
  expect(await home.ask("devices rotate kitchen --now --json")).toMatchObject({
    code: 0,
    json: { state: "confirmed" },
  });
  expect(node.running.events.items.slice(from)).toEqual([]);
});

test("--out for another device's token: it is said that the gateway keeps it, and no file is written", async () => {
  const path = home.path("token-of-kitchen");
  const { code, stderr } = await home.ask(`devices rotate kitchen --out ${path}`);
  expect(code).toBe(0);
  expect(stderr).toContain(`so ${path} was not written`);
  expect(existsSync(path)).toBe(false);
});

test("a device that is not connected is pending, and it is said how long its old token works", async () => {
  await home.pair({ displayName: "away" });
  const { stdout } = await home.ask("devices rotate away --overlap 1h");
  expect(stdout).toMatch(/; pending: it has not taken the new one yet; the old one works until \d{4}-.*Z\n$/u);
  expect(await home.ask("devices rotate away --json")).toMatchObject({ json: { state: "pending", delivered: false } });
});

test("a critical device that does not move in time: its old token stays valid, and the command fails and says so", async () => {
  await home.pair({ displayName: "pump" });
  const { code, json } = await home.ask("devices rotate pump --critical pump --overlap 200ms --json");
  expect({ code, json }).toMatchObject({
    code: 1,
    json: {
      ok: false,
      error: {
        code: "failed",
        message: "did not move to the new token in time: pump (node, pending)",
        details: { devices: [{ role: "node", state: "pending", critical: true, oldTokenValid: true }] },
      },
    },
  });
  expect(await home.ask("devices rotate kitchen --critical kitchen --json")).toMatchObject({
    code: 0,
    json: { state: "confirmed" },
  });
});

test.each([
  ["kitchen --now --overlap 1m", "--now and --overlap contradict each other"],
  ["kitchen --now --critical kitchen", "--now and --critical contradict each other"],
  ["kitchen --critical nobody", "nobody"],
  ["--self --critical kitchen", "--critical is for other devices"],
  ["kitchen --overlap soon", "--overlap"],
  ["kitchen --overlap 31d", "overlapMs"],
  ["kitchen --all", "name one of"],
])("rotate %s is refused before anything is rotated", async (words, message) => {
  const before = storedToken(node);
  const { code, stdout } = await home.ask(`devices rotate ${words} --json`);
  expect(code).toBeOneOf([2, 9]);
  expect(stdout).toContain(message);
  expect(storedToken(node)).toBe(before);
});

test("a device with two roles has to be told apart by --role", async () => {
  const device = await home.pair({ displayName: "both" });
  await home.pair({
    device,
    displayName: "both",
    role: "operator",
    clientId: "cli",
    mode: "cli",
    scopes: ["operator.read"],
  });
  expect(await home.ask("devices rotate both --json")).toMatchObject({
    code: 2,
    json: { error: { code: "usage", hint: expect.stringContaining("--role") } },
  });
  expect(await home.ask("devices rotate both --role operator --json")).toMatchObject({
    code: 0,
    json: { role: "operator", scopes: ["operator.read"] },
  });
});

test("--scope keeps the new token within what is approved, and --no-scopes empties it", async () => {
  const scopes = ["operator.read", "operator.write"];
  const cli = { role: "operator", clientId: "cli", mode: "cli", scopes };
  await home.pair({ displayName: "narrow", ...cli });
  expect(await home.ask("devices rotate narrow --scope operator.read --json")).toMatchObject({
    code: 0,
    json: { scopes: ["operator.read"] },
  });
  expect(await home.ask("devices rotate narrow --no-scopes --json")).toMatchObject({ code: 0, json: { scopes: [] } });
  expect(await home.ask("devices rotate narrow --scope operator.admin --json")).toMatchObject({
    json: { ok: false, error: { details: { code: "SCOPES_NOT_APPROVED", approvedScopes: scopes } } },
  });
});

test("--all rotates every token of a role, and tells of each device how far it has come", async () => {
  const from = node.running.events.items.length;
  const { code, json } = await home.ask("devices rotate --all --role node --critical kitchen --json");
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      ok: true,
      rotated: expect.arrayContaining([expect.objectContaining({ deviceId, role: "node" })]),
      devices: expect.arrayContaining([
        expect.objectContaining({ deviceId, name: "kitchen", role: "node", state: "confirmed" }),
        expect.objectContaining({ name: "away", state: "pending" }),
      ]),
      summary: { confirmed: 1, delivered: 0, pending: expect.any(Number) },
    },
  });
  expect(node.running.events.items.slice(from)).toEqual([]);
});

test("--all goes on past a device that cannot be rotated, and says which those are", async () => {
  await using own = await startGatewayHome();
  const cli = { role: "operator", clientId: "openclaw-tui", mode: "ui" };
  const { id: poor } = await own.pair({ displayName: "poor", ...cli, scopes: ["operator.pairing"] });
  const { id: rich } = await own.pair({ displayName: "rich", ...cli, scopes: ["operator.read"] });
  expect(await own.ask("devices rotate --all --role operator --scope operator.read --json")).toMatchObject({
    code: 6,
    json: {
      error: {
        code: "scope-missing",
        message: expect.stringContaining("1 of 2 tokens were not rotated: poor"),
        details: {
          devices: [
            { deviceId: rich, role: "operator", state: "pending" },
            { deviceId: poor, role: "operator", state: "failed", code: "scope-missing" },
          ],
        },
      },
    },
  });
});

test("a device that is not there", async () => {
  expect(await home.ask("devices rotate nobody --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});

test("--self stores the new token, proves it, and writes it to --out when told to", async () => {
  using laptop = new CliHome();
  const target = `--port ${home.tunnelPort} --json`;
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  await using asked = laptop.start(`pair request --wait ${target}`, { env, runtime: impatient(systemRuntime) });
  const note = await asked.talk.find((line) => line.includes("openclaw devices approve"));
  await succeed(home.paste(note.slice(note.indexOf("openclaw devices"))));
  expect(await asked.ended).toMatchObject({ code: 0, json: { paired: true } });
  const before = storedToken(laptop);
  const out = laptop.path("new-token");
  const { code, json, stdout } = await laptop.run(`devices rotate --self --out ${out} ${target}`);
  expect({ code, json }).toMatchObject({
    code: 0,
    json: { ok: true, role: "operator", scopes: ["operator.pairing"], delivered: true, state: "confirmed" },
  });
  const after = storedToken(laptop);
  expect(after).not.toBe(before);
  expect(readFileSync(out, "utf8")).toBe(`${after}\n`);
  expect(statSync(out).mode & 0o777).toBe(0o600);
  expect(stdout).not.toContain(after);
  expect(await laptop.run(`call health ${target}`)).toMatchObject({ code: 0 });
});

test("from another machine, by its device token: nodes move, and its own token comes last and is kept", async () => {
  using laptop = new CliHome();
  const target = `--port ${home.tunnelPort} --json`;
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  const request = `pair request --scope operator.pairing --scope operator.admin ${target}`;
  const { json: asked } = await succeed(laptop.run(request, { env }));
  await succeed(home.ask(`devices approve ${textAt(asked, "requestId")}`));
  await succeed(laptop.run(request, { env }));
  expect(await laptop.run(`devices rotate kitchen ${target}`)).toMatchObject({ code: 0, json: { state: "confirmed" } });
  const before = storedToken(laptop);
  const { code, json } = await laptop.run(`devices rotate --all ${target}`);
  const own = textAt(await laptop.run(`identity show --json`), "json", "deviceId");
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      devices: expect.arrayContaining([
        expect.objectContaining({ deviceId, state: "confirmed" }),
        expect.objectContaining({ deviceId: own, role: "operator", state: "confirmed" }),
      ]),
    },
  });
  expect(storedToken(laptop)).not.toBe(before);
  expect(await laptop.run(`devices list ${target}`)).toMatchObject({ code: 0 });
});

test("--self without a token of that gateway says how to get one", async () => {
  using laptop = new CliHome();
  expect(await laptop.run(`devices rotate --self --port ${home.port} --json`)).toMatchObject({
    code: 4,
    json: { error: { code: "credential-missing", fix: `openclaw pair request --role operator --port ${home.port}` } },
  });
});

test("a revoked role ends the node that has it, with its own exit code", async () => {
  await using gateway = await startGatewayHome();
  const revoked = await gateway.node("doomed");
  const { code, json } = await gateway.ask("devices revoke doomed --role node --json");
  expect({ code, json }).toMatchObject({ code: 0, json: { ok: true, role: "node", revokedAtMs: expect.any(Number) } });
  const { code: nodeCode } = await revoked.running.ended;
  expect(nodeCode).toBe(4);
  expect(await gateway.ask("devices revoke nobody --json")).toMatchObject({ code: 9 });
});

function storedToken(machine: CliHome): string {
  const file = readFileSync(machine.path(".openclaw/toolkit/identity/device-tokens.json"), "utf8");
  return /"token": "([^"]+)"/u.exec(file)?.[1] ?? "";
}

test("--self --role node stores the new token before it reports success, also when the node does not run", async () => {
  await using gateway = await startGatewayHome();
  const resting = await gateway.node("resting");
  await resting.running.stop();
  const before = storedToken(resting);
  const flags = `--url ${gateway.url} --token-file ${gateway.tokenFile} --json`;
  for (const more of ["", "--now"]) {
    expect(await resting.run(`devices rotate --self --role node ${more} ${flags}`)).toMatchObject({
      code: 0,
      json: { ok: true, role: "node", state: "confirmed", delivered: true },
    });
  }
  expect(storedToken(resting)).not.toBe(before);
  await using again = resting.start(`node run --json --url ${gateway.url}`);
  expect(await again.event("ready")).toBeDefined();
});

test("a device that is away has a week, and --now says first that it will be cut off", async () => {
  await using gateway = await startGatewayHome();
  await gateway.pair({ displayName: "drawer" });
  const { json } = await gateway.ask("devices rotate drawer --json");
  const days = (Number(at(json, "overlapUntilMs")) - Number(at(json, "rotatedAtMs"))) / 86_400_000;
  expect(days).toBe(7);
  expect(await gateway.ask("devices rotate drawer --now --json")).toMatchObject({
    code: 2,
    json: { error: { message: expect.stringContaining("drawer"), hint: expect.stringContaining("--yes") } },
  });
  expect(await gateway.ask("devices rotate drawer --now --yes --json")).toMatchObject({ code: 0 });
});
