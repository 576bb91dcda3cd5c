/** Real processes: signals, closed pipes, and what is left behind. */
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { once } from "node:events";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startHalfGateway } from "../client/half-gateway.ts";
import { startRawServer } from "../fixtures/raw-server.ts";
import { binPath, CliHome } from "../support/run-cli.ts";
import { linesOf, startScript } from "../support/run-script.ts";
import { startGatewayHome, succeed } from "./world.ts";

const run = promisify(execFile);

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
  "gateway run ends cleanly on %s, with exit code 0",
  async (signal) => {
    using home = new CliHome();
    await using gateway = home.spawn("gateway run --port 0 --json");
    const ready = await gateway.event("ready");
    expect(ready["pid"]).toBe(gateway.pid);
    const ended = await gateway.stop(signal);
    expect(ended).toMatchObject({ code: 0, signal: null });
    expect(gateway.events.items.at(-1)).toEqual({ event: "stopped", reason: `stopped by ${signal}` });
    expect(readdirSync(join(home.toolkitDir, "run")).filter((name) => name.endsWith(".json"))).toEqual([]);
  },
);

test("a gateway that was killed leaves nothing in the way of the next one", async () => {
  using home = new CliHome();
  await using first = home.spawn("gateway run --port 0 --json");
  await first.event("ready");
  first.child.kill("SIGKILL");
  await first.ended;
  await using second = home.spawn("gateway run --port 0 --json");
  await second.event("ready");
  expect(readdirSync(join(home.toolkitDir, "run")).filter((name) => name.startsWith("gateway-"))).toContain(
    `gateway-${second.pid}.json`,
  );
});

test("a second gateway on the same state directory names the process that holds it", async () => {
  using home = new CliHome();
  await using first = home.spawn("gateway run --port 0 --json");
  await first.event("ready");
  await using second = home.spawn("gateway run --port 0 --json");
  const { code, json, stderr } = await second.ended;
  expect({ code, json }).toMatchObject({ code: 9, json: { error: { code: "locked", details: { pid: first.pid } } } });
  expect(stderr).toContain(`process ${first.pid}`);
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "node run ends cleanly on %s while it serves, and its program with it",
  async (signal) => {
    await using world = await startGatewayHome();
    using machine = new CliHome();
    await using node = machine.spawn(`node run --json --port ${world.port} --display-name kitchen --allow sleep`, {
      env: { OPENCLAW_GATEWAY_TOKEN: world.token },
    });
    const { requestId } = await node.event("pairing-required");
    await succeed(world.ask(`pair approve ${String(requestId)} --surface`));
    await node.event("ready");
    const invoked = world.ask(`nodes invoke kitchen system.run --params '{"command":["sleep","4711"]}' --json`);
    const sleeping = await expect
      .poll(() => childOf(node.pid), { timeout: 30_000 })
      .toBeGreaterThan(0)
      .then(() => childOf(node.pid));
    expect(await node.stop(signal)).toMatchObject({ code: 0, signal: null });
    expect(node.events.items.at(-1)).toMatchObject({ event: "stopped" });
    expect(isRunning(sleeping)).toBe(false);
    expect((await invoked).code).not.toBe(0);
    expect(readdirSync(join(machine.toolkitDir, "run"))).toEqual([]);
  },
);

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "a one-shot command that waits ends on %s with %i, and under --json with one document that says so",
  async (signal, code) => {
    using home = new CliHome();
    await using silent = await startRawServer(() => {});
    await using waiting = home.spawn(`gateway status --timeout 60s --json --port ${silent.port}`);
    await expect.poll(() => silent.heard, { timeout: 30_000 }).toContain("Upgrade: websocket");
    expect(await waiting.stop(signal)).toMatchObject({ code, signal: null, stderr: "", ...stoppedBy(signal) });
  },
);

test("people who press Ctrl-C are not told that they did", async () => {
  using home = new CliHome();
  await using silent = await startRawServer(() => {});
  await using waiting = home.spawn(`gateway status --timeout 60s --port ${silent.port}`);
  await expect.poll(() => silent.heard, { timeout: 30_000 }).toContain("Upgrade: websocket");
  expect(await waiting.stop("SIGINT")).toMatchObject({ code: 130, signal: null, stdout: "", stderr: "" });
});

test("a command whose gateway let it in and then hangs ends at once on SIGINT, with its document", async () => {
  using home = new CliHome();
  await using gateway = await startHalfGateway({ says: "hello" });
  await using waiting = home.spawn(`devices list --timeout 60s --json --url ${gateway.url}`);
  await gateway.called.find((method) => method === "device.pair.list");
  expect(await waiting.stop("SIGINT")).toMatchObject({ code: 130, ...stoppedBy("SIGINT") });
});

test("a command that reads standard input to its end does not wait for it after SIGTERM", async () => {
  using home = new CliHome();
  await using waiting = home.start("nodes invoke kitchen system.run --params - --json", { tty: true });
  expect(await waiting.stop("SIGTERM")).toMatchObject({ code: 143, ...stoppedBy("SIGTERM") });
});

test("a request that waits for a decision ends on SIGTERM with its document", async () => {
  await using world = await startGatewayHome();
  using machine = new CliHome();
  await using waiting = machine.spawn(`pair request --role node --wait --json --port ${world.port}`, {
    env: { OPENCLAW_GATEWAY_TOKEN: world.token },
  });
  await expect.poll(async () => (await world.ask("pair list --json")).stdout, { timeout: 30_000 }).toContain("node");
  expect(await waiting.stop("SIGTERM")).toMatchObject({ code: 143, ...stoppedBy("SIGTERM") });
});

/** The answer of a command that a signal ended. */
function stoppedBy(signal: string) {
  return { json: { ok: false, error: { code: "failed", message: `stopped by ${signal}`, details: { signal } } } };
}

test.each([
  ["SIGINT", "SIGINT", 130],
  ["SIGTERM", "SIGINT", 130],
  ["SIGTERM", undefined, 143],
] as const)("what does not end on %s ends at once on %s, or else by itself, with %i", async (first, second, code) => {
  const child = startScript("unwilling.ts");
  const lines = linesOf(child)[Symbol.asyncIterator]();
  await lines.next();
  child.kill(first);
  expect(await lines.next()).toMatchObject({ value: "heard" });
  if (second !== undefined) child.kill(second);
  expect(await once(child, "exit")).toEqual([code, null]);
});

test("a reader that has seen enough ends a command without a word", async () => {
  using home = new CliHome();
  const errors = home.path("errors");
  const line = `"${process.execPath}" "${binPath}" explain 2> "${errors}" | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout } = await run("bash", ["-c", line], { env: home.env() });
  expect(stdout).toMatch(/^CODE .*\n0\n$/u);
  expect(statSync(errors).size).toBe(0);
});

test("a gateway whose reader went away still cleans up", async () => {
  using home = new CliHome();
  const TMPDIR = home.path("tmp");
  mkdirSync(TMPDIR);
  await using gateway = home.spawn("gateway run --ephemeral --json", { env: { TMPDIR } });
  await gateway.event("ready");
  expect(readdirSync(TMPDIR)).toHaveLength(1);
  gateway.child.stdout?.destroy();
  expect(await gateway.stop()).toMatchObject({ code: 0, stderr: "" });
  expect(readdirSync(TMPDIR)).toEqual([]);
});

test("a node whose reader goes away ends by itself, with its record", async () => {
  using home = new CliHome();
  await using node = home.spawn("node run --json --port 1", { env: { OPENCLAW_GATEWAY_TOKEN: "token" } });
  await node.event("connecting");
  node.child.stdout?.destroy();
  expect(await node.ended).toMatchObject({ code: 0, signal: null });
  expect(readdirSync(join(home.toolkitDir, "run"))).toEqual([]);
});

test("an answer that could not be written is a failure", async () => {
  using home = new CliHome();
  const line = `"${process.execPath}" "${binPath}" identity create > /dev/full; echo "$?"`;
  const { stdout, stderr } = await run("bash", ["-c", line], { env: home.env() });
  expect({ stdout, last: stderr.split("\n").at(-2) }).toEqual({
    stdout: "1\n",
    last: "openclaw: cannot write the output (ENOSPC)",
  });
});

test("a command without a home and without a state directory still finds its user's", async () => {
  using home = new CliHome();
  await using shown = home.spawn("config path", { env: { HOME: undefined } });
  expect(await shown.ended).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^\/.*\/\.openclaw\/toolkit\/config\.json5\n$/u),
  });
});

test("no colours and no control characters in pipes", async () => {
  using home = new CliHome();
  for (const line of ["--help", "explain", "identity show", "config list"]) {
    await using shown = home.spawn(line, { env: { NO_COLOR: undefined, FORCE_COLOR: undefined } });
    const { stdout, stderr } = await shown.ended;
    // eslint-disable-next-line no-control-regex
    expect(stdout + stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/u);
  }
});

test("it does not matter in which directory, and through which link, the program is started", async () => {
  using home = new CliHome();
  const { stdout } = await run(process.execPath, [binPath, "--version"], { cwd: home.directory, env: home.env() });
  expect(stdout).toMatch(/^openclaw \d+\.\d+\.\d+\n$/u);
});

/** The first child of a process, or 0 (Linux: proc(5), task/tid/children). */
async function childOf(pid: number): Promise<number> {
  const { stdout } = await run("ps", ["-o", "pid=,args=", "--ppid", String(pid)]).catch(() => ({ stdout: "" }));
  return Number(/^\s*(\d+) .*sleep 4711/mu.exec(stdout)?.[1] ?? 0);
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
