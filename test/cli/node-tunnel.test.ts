/** node run --tunnel: the gateway is reached through an SSH connection of the same process. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";
import { type GatewayHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
let sshd: Sshd;
beforeAll(async () => {
  [home, sshd] = await Promise.all([startGatewayHome(), startSshd()]);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await sshd[Symbol.asyncDispose]();
});

/** The command, as a person on another machine types it. */
function runThroughTunnel(machine: CliHome, further = "") {
  const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
  const line = `node run --tunnel ${sshd.user}@127.0.0.1:${sshd.port} --port ${home.port} ${keys} ${further} --json`;
  return machine.start(line, { env: { OPENCLAW_GATEWAY_TOKEN: home.token } });
}

test("the node comes up through the tunnel, heals with it, and leaves nothing behind", async () => {
  using machine = new CliHome();
  await using running = runThroughTunnel(machine, "--display-name afar");
  expect(await running.event("tunnel", 0, { step: "ready" })).toMatchObject({
    forwards: [{ direction: "local", target: `127.0.0.1:${home.port}` }],
  });
  const { requestId } = await running.event("pairing-required");
  await succeed(home.ask(`pair approve ${String(requestId)} --surface`));
  const ready = await running.event("ready");
  await succeed(home.ask("nodes invoke afar system.info"));

  const list = await succeed(machine.run("tunnel list --json"));
  expect(list.json).toMatchObject({ tunnels: [{ state: "up", pid: process.pid }] });

  await sshd.killSessions();
  await running.event("tunnel", 0, { step: "reconnected" });
  expect(await running.event("ready", 1)).toMatchObject({ deviceId: textAt(ready, "deviceId") });
  expect((await running.stop()).code).toBe(0);
  expect(readdirSync(join(machine.toolkitDir, "run"))).toEqual([]);
});

test("an invite leads through the tunnel too, to the address that it names at the far end, and is not needed twice", async () => {
  using machine = new CliHome();
  const made = await succeed(home.ask(`pair invite --public-url ${home.url} --ttl 30s --json`));
  const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
  const line = `node run --tunnel ${sshd.user}@127.0.0.1:${sshd.port} --pair-file - ${keys} --json`;
  const stdin = textAt(made.json, "code");
  {
    await using first = machine.start(line, { stdin });
    await first.event("ready");
  }
  const later = { ...systemRuntime, now: () => systemRuntime.now() + 60_000 };
  await using again = machine.start(line, { stdin, runtime: later });
  await again.event("ready");
  expect(again.events.items.filter(({ event }) => event === "pairing-required")).toEqual([]);
});

test("a tunnel that does not come up ends the node with the tunnel's failure", async () => {
  using machine = new CliHome();
  const { code, stdout } = await machine.run(
    `node run --tunnel ${sshd.user}@127.0.0.1:${sshd.port} --host-key-fingerprint SHA256:${"A".repeat(43)} -F none --json`,
  );
  expect(code).toBe(4);
  expect(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")).toMatchObject({
    ok: false,
    error: { code: "host-key-changed" },
  });
});
