/** What a machine may do that comes with its own device token, and how it learns what it may not. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { at, listAt, makeDevice } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
const machines: CliHome[] = [];
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  for (const machine of machines) machine[Symbol.dispose]();
});

/** A machine at the other end of a tunnel that was paired with these scopes, and holds nothing but its device token. */
async function pairedMachine(scopes: string): Promise<CliHome> {
  const machine = new CliHome();
  machines.push(machine);
  const request = `pair request ${scopes} --port ${home.tunnelPort} --json`;
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  const { json } = await succeed(machine.run(request, { env }));
  await succeed(home.ask(`devices approve ${String(at(json, "requestId"))}`));
  expect(await machine.run(request, { env })).toMatchObject({ json: { paired: true } });
  return machine;
}

const here = (line: string) => `${line} --port ${home.tunnelPort} --json`;

test("without operator.admin it sees itself only, and is told so", async () => {
  const machine = await pairedMachine("--scope operator.pairing");
  const device = await home.pair({ displayName: "porch" });
  for (const line of ["devices list", "pair list"]) {
    const { code, stderr } = await machine.run(here(line));
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("only this machine's own device") });
  }
  const { json } = await machine.run(here("devices list"));
  expect(listAt(json, "paired")).toHaveLength(1);
  expect(await machine.run(here(`devices remove ${device.id}`))).toMatchObject({
    code: 6,
    json: {
      error: {
        code: "scope-missing",
        message: expect.stringContaining(device.id),
        fix: `openclaw pair request --role operator --scope operator.pairing --scope operator.admin --port ${home.tunnelPort}`,
      },
    },
  });
});

test("with operator.admin it sees and decides about others", async () => {
  const machine = await pairedMachine("--scope operator.pairing --scope operator.admin");
  const requestId = await home.request({ device: makeDevice(), displayName: "attic" });
  const { json, stderr } = await machine.run(here("devices list"));
  expect(stderr).toBe("");
  expect(listAt(json, "pending")).toContainEqual(expect.objectContaining({ requestId }));
  expect(await machine.run(here(`devices approve ${requestId}`))).toMatchObject({ code: 0, json: { requestId } });
  expect(await machine.run(here("devices remove attic"))).toMatchObject({ code: 0 });
});

test("a command that takes more than the token holds is a request for more, and costs no token", async () => {
  const machine = await pairedMachine("--scope operator.read");
  expect(await machine.run(here("devices list"))).toMatchObject({
    code: 5,
    json: { error: { code: "pairing-required", fix: expect.stringContaining("openclaw devices approve ") } },
  });
  expect(await machine.run(here("nodes list"))).toMatchObject({ code: 0 });
});

/** What a machine that was never paired is told to do about it: to be pasted where the gateway runs, and not from here. */
test.each(["devices list", "nodes list", "pair list"])(
  "%s of an unknown machine: its fix does its work on the gateway's host",
  async (line) => {
    using stranger = new CliHome();
    const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
    const where = `--port ${home.tunnelPort} --state-dir ${stranger.path("state")}`;
    const { code, json } = await stranger.run(`${line} ${where} --json`, { env });
    const fix = String(at(json, "error", "fix"));
    expect({ code, error: at(json, "error") }).toMatchObject({
      code: 5,
      error: { code: "pairing-required", hint: expect.stringContaining("on the gateway's host") },
    });
    expect(fix).toMatch(/^openclaw devices approve [0-9a-f-]{36}$/u);
    expect((await stranger.run(`${line} ${where}`, { env })).stderr).toContain(`\nfix: ${fix}\n`);
    await succeed(home.run(fix.slice("openclaw ".length)));
    await succeed(stranger.run(`${line} ${where}`, { env }));
  },
);

test("pair request names the way on the gateway's host only, for an operator cannot approve itself", async () => {
  using stranger = new CliHome();
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  const line = `pair request --port ${home.tunnelPort}`;
  const { json } = await succeed(stranger.run(`${line} --json`, { env }));
  expect(at(json, "approve")).toBe(`openclaw devices approve ${String(at(json, "requestId"))}`);
  expect((await succeed(stranger.run(line, { env }))).stdout).not.toContain("from here");
  expect((await succeed(stranger.run(`${line} --role node`, { env }))).stdout).toContain(
    "Or from here: openclaw devices",
  );
});
