/** The launcher on an old Node.js: it restarts on the checkout's own, and the two end together. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { binPath, CliHome } from "../support/run-cli.ts";
import { linesOf } from "../support/run-script.ts";
import { startGatewayHome, succeed } from "./world.ts";

/** An old Node.js, as far as the launcher looks: this one with another version. */
interface OldNode {
  readonly command: string;
  readonly args: readonly string[];
}
const pretending: OldNode = { command: process.execPath, args: ["--import", `data:text/javascript,${pretendOld()}`] };
const systemNode: OldNode = { command: "/usr/bin/node", args: [] };
const olds: [name: string, old: OldNode][] = [
  ["one that says it is old", pretending],
  ...(isOld(systemNode.command) ? [["the system's", systemNode] as [string, OldNode]] : []),
];

describe.each(olds)("from an old Node.js (%s)", (_name, old) => {
  test("kill -9 of the launcher ends what it started as SIGTERM does", async () => {
    using home = new CliHome();
    using launcher = launch(home, old, "gateway run --port 0 --json");
    const lines = linesOf(launcher.child)[Symbol.asyncIterator]();
    const ready = await nextEvent(lines);
    expect(ready).toMatchObject({ event: "ready" });
    expect(ready["pid"]).not.toBe(launcher.child.pid);
    launcher.child.kill("SIGKILL");
    expect(await nextEvent(lines)).toEqual({ event: "stopped", reason: "stopped by SIGTERM" });
    await expect.poll(() => isRunning(Number(ready["pid"])), { timeout: 30_000 }).toBe(false);
    expect(readdirSync(join(home.toolkitDir, "run")).filter((name) => name.endsWith(".json"))).toEqual([]);
  });

  test.each([
    ["identity create", 0],
    ["identity show", 9],
    ["--version", 0],
  ])("%s ends by itself, with %i", async (line, code) => {
    using home = new CliHome();
    using launcher = launch(home, old, line);
    expect(await once(launcher.child, "exit")).toEqual([code, null]);
  });

  test.each([
    ["SIGTERM", "gateway run --port 0 --json", 0],
    ["SIGINT", "gateway run --port 0 --json", 0],
    ["SIGKILL", "gateway run --port 0 --json", 137],
  ] as const)("%s to the child is the launcher's exit code", async (signal, line, code) => {
    using home = new CliHome();
    using launcher = launch(home, old, line);
    const { pid } = await nextEvent(linesOf(launcher.child)[Symbol.asyncIterator]());
    process.kill(Number(pid), signal);
    expect(await once(launcher.child, "exit")).toEqual([code, null]);
  });

  test("a program that a node runs has neither the variable nor the pipe", async () => {
    await using world = await startGatewayHome();
    using machine = new CliHome();
    writeFileSync(machine.path("token"), world.token);
    const words = `node run --json --port ${world.port} --token-file ${machine.path("token")} --display-name kitchen --allow sh`;
    using launcher = launch(machine, old, words);
    const events = linesOf(launcher.child)[Symbol.asyncIterator]();
    let event = await nextEvent(events);
    while (event["event"] !== "pairing-required") event = await nextEvent(events);
    await succeed(world.ask(`pair approve ${String(event["requestId"])} --surface`));
    while (event["event"] !== "ready") event = await nextEvent(events);
    const params = JSON.stringify({ command: ["sh", "-c", "env; (: <&3) 2>/dev/null && echo has 3; exit 0"] });
    const { json } = await succeed(
      world.run([
        ..."nodes invoke kitchen system.run --json --params".split(" "),
        params,
        "--port",
        String(world.port),
      ]),
    );
    const { stdout } = (json as { readonly payload: { readonly stdout: string } }).payload;
    expect(stdout).toContain("HOME=");
    expect(stdout).not.toContain("OPENCLAW_LAUNCHER");
    expect(stdout).not.toContain("has 3");
  });
});

test.each(["3", "1000", "x", ""])("a variable that is not of our launcher (%j) hinders nothing", async (fd) => {
  using home = new CliHome();
  await using shown = home.spawn("identity create --json", { env: { OPENCLAW_LAUNCHER_FD: fd } });
  expect(await shown.ended).toMatchObject({ code: 0, json: { ok: true } });
});

function launch(home: CliHome, old: OldNode, line: string) {
  const child = spawn(old.command, [...old.args, binPath, ...line.split(" ")], {
    env: { ...home.env() },
    stdio: ["ignore", "pipe", "ignore"],
  });
  return { child, [Symbol.dispose]: () => void child.kill("SIGTERM") };
}

async function nextEvent(lines: AsyncIterator<string>): Promise<Readonly<Record<string, unknown>>> {
  const { value, done } = await lines.next();
  if (done === true) throw new Error("it ended without another event");
  return JSON.parse(value) as Readonly<Record<string, unknown>>;
}

function pretendOld(): string {
  const versions = "{ ...process.versions, node: '20.0.0' }";
  return encodeURIComponent(`Object.defineProperty(process, "versions", { value: ${versions} })`);
}

function isOld(command: string): boolean {
  try {
    const [major = 0] = execFileSync(command, ["-p", "process.versions.node"], { encoding: "utf8" })
      .split(".")
      .map(Number);
    return major < 24;
  } catch {
    return false;
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
