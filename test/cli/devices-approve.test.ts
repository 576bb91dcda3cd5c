/** devices list, approve and reject. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { fingerprint } from "../../src/identity/fingerprint.ts";
import { makeDevice } from "../support/raw-client.ts";
import { type GatewayHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

test("without devices the list says so", async () => {
  await using empty = await startGatewayHome();
  expect(await empty.ask("devices list")).toMatchObject({ code: 0, stdout: "No devices are paired.\n" });
  expect(await empty.ask("devices list --json")).toMatchObject({
    code: 0,
    json: { ok: true, pending: [], paired: [] },
  });
  expect(await empty.ask("devices approve --json")).toMatchObject({ code: 9, json: { error: { code: "not-found" } } });
});

test("a device that asks is listed with all that a person needs to decide", async () => {
  const device = makeDevice();
  const requestId = await home.request({ device, displayName: "pantry" });
  const { json } = await home.ask("devices list --json");
  expect(json).toMatchObject({
    ok: true,
    pending: expect.arrayContaining([
      expect.objectContaining({
        requestId,
        deviceId: device.id,
        displayName: "pantry",
        role: "node",
        roles: ["node"],
        scopes: [],
        platform: "linux",
        remoteIp: "127.0.0.1",
        ts: expect.any(Number),
        fingerprint: fingerprint(device.id),
        layer: "device",
      }),
    ]),
  });
  const { stdout } = await home.ask("devices list");
  expect(stdout).toContain(requestId);
  expect(stdout).toContain(fingerprint(device.id));
  await home.ask(`devices reject ${requestId}`);
});

test("an approved device is listed with its roles, scopes and tokens, and never with a token", async () => {
  const device = await home.pair({
    displayName: "attic",
    role: "operator",
    clientId: "cli",
    mode: "cli",
    scopes: ["operator.read"],
  });
  const { json, stdout } = await home.ask("devices list --json");
  expect(json).toMatchObject({
    paired: expect.arrayContaining([
      expect.objectContaining({
        deviceId: device.id,
        displayName: "attic",
        roles: ["operator"],
        scopes: ["operator.read"],
        tokens: [{ role: "operator", scopes: ["operator.read"], createdAtMs: expect.any(Number) }],
        createdAtMs: expect.any(Number),
        approvedAtMs: expect.any(Number),
        connected: false,
      }),
    ]),
  });
  expect(stdout).not.toMatch(/"token"|"tokenHash"|"salt"/u);
  expect((await home.ask("devices list")).stdout).toContain(device.id);
});

test.each<[how: string, wanted: (request: { id: string; deviceId: string }) => string]>([
  ["by its id", ({ id }) => id],
  ["by a prefix of its id", ({ id }) => id.slice(0, 6)],
  ["by the device's id", ({ deviceId }) => deviceId],
  ["by a prefix of the device's id", ({ deviceId }) => deviceId.slice(0, 6)],
  ["by the device's name", () => "cellar"],
])("a request is approved %s", async (_how, wanted) => {
  const device = makeDevice();
  const id = await home.request({ device, displayName: "cellar" });
  const { code, json } = await home.ask(`devices approve ${wanted({ id, deviceId: device.id })} --json`);
  expect({ code, json }).toMatchObject({ code: 0, json: { ok: true, requestId: id, device: { deviceId: device.id } } });
  expect((await home.connect({ device, displayName: "cellar" })).response.ok).toBe(true);
});

test("a name that two requests have is refused with both ids", async () => {
  const ids = [
    await home.request({ device: makeDevice(), displayName: "twin" }),
    await home.request({ device: makeDevice(), displayName: "twin" }),
  ];
  const { code, json } = await home.ask("devices approve twin --json");
  expect({ code, json }).toMatchObject({
    code: 9,
    json: { error: { code: "ambiguous", details: { candidates: expect.arrayContaining(ids) } } },
  });
  for (const id of ids) await home.ask(`devices reject ${id}`);
});

test.each(["unknown-name", "abc", "00000000-0000-0000-0000-000000000000"])(
  "approving %s finds nothing",
  async (wanted) => {
    expect(await home.ask(`devices approve ${wanted} --json`)).toMatchObject({
      code: 9,
      json: { error: { code: "not-found", fix: `openclaw devices list --port ${home.port}` } },
    });
  },
);

test("the newest request is only shown, until it is approved by name or with --yes", async () => {
  const device = makeDevice();
  const requestId = await home.request({ device, displayName: "newest" });
  for (const line of ["devices approve --json", "devices approve --latest --json"]) {
    expect(await home.ask(line)).toMatchObject({
      code: 5,
      json: {
        error: {
          code: "approval-unconfirmed",
          fix: `openclaw devices approve ${requestId} --port ${home.port}`,
          details: { request: { requestId, fingerprint: fingerprint(device.id) } },
        },
      },
    });
  }
  expect(await home.ask("devices approve --latest --yes --json")).toMatchObject({ code: 0, json: { requestId } });
});

test("a rejected request is gone, and its device is told", async () => {
  const device = makeDevice();
  const requestId = await home.request({ device });
  expect(await home.ask(`devices reject ${requestId} --reason 'not one of ours' --json`)).toMatchObject({
    code: 0,
    json: { ok: true, requestId },
  });
  expect(await home.ask(`devices approve ${requestId} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", message: expect.stringContaining("rejected") } },
  });
  const { response } = await home.connect({ device });
  expect(JSON.stringify(response.error)).toContain("not one of ours");
});

test("people are told what was done in one sentence", async () => {
  const device = makeDevice();
  const first = await home.request({ device, displayName: "porch" });
  expect((await home.ask(`devices reject ${first}`)).stdout).toBe(`Rejected request ${first}\n`);
  await home.connect({ device, displayName: "porch" });
  const second = await home.request({ device, displayName: "porch" });
  expect((await home.ask(`devices approve ${second}`)).stdout).toBe(`Approved porch (${device.id})\n`);
});

test("piped, ids are not cut; on a narrow terminal the other columns give way", async () => {
  const device = await home.pair({ displayName: "a name that takes more room than a terminal has to give to it" });
  const piped = await home.ask("devices list");
  expect(piped.stdout).toContain(device.id);
  expect(piped.stdout).toContain("a name that takes more room than a terminal has to give to it");
  const narrow = await home.run(`devices list --port ${home.port}`, { columns: 100 });
  expect(narrow.stdout).toContain(device.id);
  expect(narrow.stdout).toContain("…");
});
