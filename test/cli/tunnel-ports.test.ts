/** What `tunnel open` says about ports before it opens them: a gateway's browser control, and addresses that others can reach. */
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CliHome } from "../support/run-cli.ts";
import { freePort, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";

let sshd: Sshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(async () => sshd[Symbol.asyncDispose]());

const open = (words: string) =>
  `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} --json ${words}`;

/** A home whose own gateway is configured on this port. */
function homeWithGateway(port: number): CliHome {
  const home = new CliHome();
  mkdirSync(home.toolkitDir, { recursive: true, mode: 0o700 });
  writeFileSync(join(home.toolkitDir, "config.json5"), JSON.stringify({ gateway: { port } }), { mode: 0o600 });
  return home;
}

/** Something that answers on a loopback port; if another program is there already, that answers. */
async function somethingOn(port: number): Promise<Server> {
  const server = createServer((socket) => socket.destroy()).listen(port, "127.0.0.1");
  await once(server, "listening").catch(() => {});
  return server;
}

test("the port beside the configured gateway is warned about, with the reason, and used", async () => {
  const port = await freePort();
  using home = homeWithGateway(port - 2);
  await using tunnel = home.start(open(`-L ${port}:127.0.0.1:1`));
  await tunnel.event("ready");
  const { stderr } = await tunnel.stop();
  expect(stderr).toMatch(
    new RegExp(`warning: port ${port} is where a gateway on port ${port - 2} has its browser control`),
  );
});

test("it is refused when something answers there, with exit code 9", async () => {
  const port = await freePort();
  using home = homeWithGateway(port - 2);
  const server = await somethingOn(port);
  const refused = await home.run(open(`-L [::1]:${port}:127.0.0.1:1`));
  server.close();
  expect(refused).toMatchObject({
    code: 9,
    json: { error: { code: "port-in-use", details: { gatewayPort: port - 2 } } },
  });
});

test("on the server the port beside the usual gateway is refused when something answers there", async () => {
  using home = new CliHome();
  const server = await somethingOn(18_791);
  const refused = await home.run(open("-R 18791:127.0.0.1:1"));
  server.close();
  expect(refused.code).toBe(9);
  expect(refused.stdout).toMatch(/"code":"port-in-use".*"direction":"remote"/u);
});

test("a bind beyond loopback is taken when it is asked for by name, and tells once who can reach it", async () => {
  using home = new CliHome();
  await using tunnel = home.start(open("-L *:0:127.0.0.1:1 -R 0:127.0.0.1:1"));
  await tunnel.event("ready");
  const { stderr } = await tunnel.stop();
  expect(stderr.match(/warning: /gu)).toHaveLength(1);
  expect(stderr).toContain("listens on every address of this machine");
});

test("an empty bind is a usage error", async () => {
  using home = new CliHome();
  expect(await home.run(open("-R :8080:127.0.0.1:1"))).toMatchObject({ code: 2, json: { error: { code: "usage" } } });
});
