/** Local is not the same as loopback (auth.md § 2): who comes straight from this machine needs nothing, and who comes through anything else does. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { endChild, takesConnections } from "../support/child.ts";
import { CliHome } from "../support/run-cli.ts";
import { freePort, type Sshd, startSshd } from "../support/sshd.ts";
import { startGateway, type World } from "../support/world.ts";

const bareCaller = join(import.meta.dirname, "../support/bare-caller.ts");

/** What became of a caller that shows nothing. `dialled` is where it really goes, while it says that it goes to the URL. */
async function call(url: string, client = "gateway-client backend", dialled = ""): Promise<string> {
  const [id = "", mode = ""] = client.split(" ");
  const { stdout } = await promisify(execFile)(process.execPath, [
    bareCaller,
    url,
    id,
    mode,
    "operator.write",
    dialled,
  ]);
  return stdout.trim();
}

let world: World;
beforeAll(async () => {
  world = await startGateway();
});
afterAll(() => world[Symbol.asyncDispose]());
const port = () => world.gateway.port;

/** What the gateway said of the last caller's being local. */
function localStep(): string | undefined {
  return world.decisions.items.at(-1)?.trace.find(({ method }) => method === "local")?.reason;
}

describe("straight from this machine", () => {
  test.each(["gateway-client backend", "cli cli"])("%s keeps what it asks for", async (client) => {
    expect(await call(world.url, client)).toBe("in by local: operator.write");
    expect(localStep()).toBe("proven local");
  });

  test("any other client without a key is told that it keeps nothing", async () => {
    expect(await call(world.url, "openclaw-macos ui")).toMatch(/^out: device/u);
  });

  test("gateway.auth.loopback off asks of everybody", async () => {
    await using strict = await startGateway({ auth: { token: "t", loopback: false } });
    expect(await call(strict.url)).toMatch(/^out: /u);
    expect(strict.decisions.items.at(-1)?.trace).toContainEqual({
      method: "local",
      outcome: "passed",
      reason: "gateway.auth.loopback is off",
    });
  });
});

describe("through something else", () => {
  let sshd: Sshd;
  const children: ChildProcess[] = [];
  beforeAll(async () => {
    sshd = await startSshd();
  });
  afterAll(async () => {
    for (const child of children) await endChild(child);
    await sshd[Symbol.asyncDispose]();
  });

  /** Starts a program that forwards; resolves once its port takes connections. */
  async function forwarder(
    host: string,
    listening: number,
    program: string,
    ...args: readonly string[]
  ): Promise<void> {
    if (!existsSync(program)) throw new Error(`${program} is missing: see the list in .ci/run`);
    const child = spawn(program, args, { stdio: "ignore" });
    children.push(child);
    while (child.exitCode === null && !(await takesConnections(host, listening))) await delay(20);
  }

  const ssh = (forward: string, spec: string) => [
    "/usr/bin/ssh",
    ...`-N -F none -i ${sshd.identityFile} -o UserKnownHostsFile=${sshd.knownHostsFile} -o ExitOnForwardFailure=yes`.split(
      " ",
    ),
    ...`-p ${sshd.port} ${forward} ${spec} ${sshd.user}@127.0.0.1`.split(" "),
  ];

  test("ssh -R: another port", async () => {
    const there = await freePort();
    const [program = "", ...args] = ssh("-R", `127.0.0.1:${there}:127.0.0.1:${port()}`);
    await forwarder("127.0.0.1", there, program, ...args);
    expect(await call(`ws://127.0.0.1:${there}`)).toMatch(/^out: /u);
    expect(localStep()).toBe("host-port-differs");
  });

  test("ssh -L on the same port number", async () => {
    const [program = "", ...args] = ssh("-L", `127.0.0.2:${port()}:127.0.0.1:${port()}`);
    await forwarder("127.0.0.2", port(), program, ...args);
    expect(await call(world.url, "gateway-client backend", "127.0.0.2")).toMatch(/^out: /u);
    expect(localStep()).toBe("peer-may-relay");
  });

  test("our own tunnel", async () => {
    using home = new CliHome();
    const options = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile} -F none`;
    const line = `tunnel open ${sshd.user}@127.0.0.1:${sshd.port} -L 127.0.0.3:${port()}:127.0.0.1:${port()} ${options} --json`;
    await using tunnel = home.spawn(line);
    await tunnel.event("ready");
    expect(await call(world.url, "gateway-client backend", "127.0.0.3")).toMatch(/^out: /u);
    expect(localStep()).toBe("peer-may-relay");
  });

  test("socat", async () => {
    const args = [`TCP-LISTEN:${port()},bind=127.0.0.4,fork,reuseaddr`, `TCP:127.0.0.1:${port()}`];
    await forwarder("127.0.0.4", port(), "/usr/bin/socat", ...args);
    expect(await call(world.url, "gateway-client backend", "127.0.0.4")).toMatch(/^out: /u);
    expect(localStep()).toBe("peer-may-relay");
  });
});
