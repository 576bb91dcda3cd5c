/** devices list and approve with --local: the owner of the state directory decides on the store itself. */
import { chmodSync, cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { at, makeDevice } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { runScript } from "../support/run-script.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

const cli = { role: "operator", clientId: "cli", mode: "cli", scopes: ["operator.read"] };

async function lastAudit(home: CliHome): Promise<unknown> {
  await using store = await openSqliteStore(join(home.toolkitDir, "gateway.db"));
  return (await store.tail("audit", 1))[0];
}

test("a running gateway takes the approval over, and the device is let in at once", async () => {
  await using home = await startGatewayHome();
  const device = makeDevice();
  const requestId = await home.request({ device, ...cli });
  const approved = await home.run(`devices approve ${requestId} --local --json`);
  expect(approved).toMatchObject({
    code: 0,
    json: { ok: true, requestId, device: { deviceId: device.id, approvedVia: "owner", scopes: ["operator.read"] } },
  });
  const { response } = await home.connect({ device, ...cli });
  expect(response.ok).toBe(true);
  expect(await lastAudit(home)).toMatchObject({
    action: "device.approve",
    via: "owner",
    by: "local",
    address: "local",
    device: device.id,
    request: requestId,
  });
});

test("it approves what a gateway would refuse to hear, and while none runs", async () => {
  await using first = await startGatewayHome("--auth token");
  const device = makeDevice();
  const requestId = await first.request({ device, ...cli, scopes: ["operator.admin"] });
  await first.gateway.stop();
  expect(await first.run("devices list --json")).toMatchObject({ code: 3 });
  expect(await first.run("devices list --local --json")).toMatchObject({
    code: 0,
    json: { pending: [{ requestId, deviceId: device.id, layer: "device" }], paired: [] },
  });
  const { stdout } = await succeed(first.run(`devices approve ${device.id.slice(0, 12)} --local`));
  expect(stdout).toContain(device.id);
  const listed = await first.run("devices list --local --json");
  expect(listed).toMatchObject({
    json: { pending: [], paired: [{ deviceId: device.id, scopes: ["operator.admin"] }] },
  });
  // Who is connected only a gateway knows.
  expect(at(listed.json, "paired", "0", "connected")).toBeUndefined();
  expect((await first.run("devices list --local")).stdout).toMatch(/ unknown /u);
});

test("a request that is over, was never made, or is not named is told like over the wire", async () => {
  await using home = await startGatewayHome();
  const requestId = await home.request({ device: makeDevice(), ...cli });
  expect(await home.run("devices approve --local --json")).toMatchObject({
    code: 5,
    json: { error: { code: "approval-unconfirmed", details: { request: { requestId } } } },
  });
  await succeed(home.ask(`devices reject ${requestId}`));
  expect(await home.run(`devices approve ${requestId} --local --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "conflict" } },
  });
  expect(await home.run("devices approve unheard-of --local --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});

test("the code on the device's terminal is found offline too", async () => {
  await using home = await startGatewayHome();
  await home.request({ device: makeDevice(), ...cli });
  const code = at((await home.ask("devices list --json")).json, "pending", "0", "sas");
  const offline = at((await home.run("devices list --local --json")).json, "pending", "0", "sas");
  expect(offline).toEqual(code);
});

test("where there is no store nothing is made", async () => {
  using home = new CliHome();
  for (const line of ["devices list --local --json", "devices approve x --local --json"]) {
    expect(await home.run(line)).toMatchObject({ code: 9, json: { error: { code: "not-found" } } });
  }
  expect(existsSync(home.stateDir)).toBe(false);
});

test("it asks no gateway, and says so when one is named", async () => {
  using home = new CliHome();
  expect(await home.run("devices list --local --port 18789 --json")).toMatchObject({
    code: 2,
    json: { error: { code: "usage", message: "--local and --port contradict each other" } },
  });
});

/** A copy of a stopped gateway's state, readable by everybody, as `unprivileged-cli.ts` sees it. */
function openCopy(home: GatewayHome): CliHome {
  const copy = new CliHome();
  cpSync(home.stateDir, copy.stateDir, { recursive: true });
  for (const path of [copy.directory, copy.stateDir, copy.toolkitDir]) chmodSync(path, 0o777);
  chmodSync(join(copy.toolkitDir, "gateway.db"), 0o666);
  return copy;
}

test.skipIf(process.getuid?.() !== 0)(
  "another user's store is not written, although its files would let him",
  async () => {
    await using home = await startGatewayHome();
    await home.gateway.stop();
    using copy = openCopy(home);
    const run = await runScript("unprivileged-cli.ts", copy.directory, "devices", "list", "--local", "--json");
    expect(JSON.parse(run)).toMatchObject({
      code: 1,
      json: { error: { code: "state-unwritable", message: /belongs to user 0/u } },
    });
  },
);
