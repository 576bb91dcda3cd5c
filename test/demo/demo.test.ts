import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type DemoStep, runDemo } from "../../src/demo/index.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { at } from "../support/raw-client.ts";
import { binPath, CliHome, type CliEvent, type SpawnedCli } from "../support/run-cli.ts";

const run = promisify(execFile);
const direction = {
  deviceId: expect.stringMatching(/^[0-9a-f]{64}$/u),
  paired: true,
  verified: true,
  latencyMs: expect.any(Number),
};

/** A machine whose temporary directory is its own, so that what is left in it can be seen. */
function machineForDemo() {
  const home = new CliHome();
  const temporary = home.path("tmp");
  mkdirSync(temporary);
  return { home, temporary, start: (line: string): SpawnedCli => home.spawn(line, { env: { TMPDIR: temporary } }) };
}

test("the demo pairs, invokes, rotates and heals in both directions, and leaves nothing behind", async () => {
  const { home, temporary, start } = machineForDemo();
  using _home = home;
  await using demo = start("demo --json");
  const { code, stdout } = await demo.ended;
  expect(code).toBe(0);
  const events = demo.events.items;
  expect(events.slice(0, -1).map((event) => event["step"])).toEqual([
    "gateways",
    "ssh",
    "tunnel",
    "nodes",
    "approve",
    "invoke",
    "rotate",
    "cut",
    "verify",
  ]);
  expect(events.at(-1)).toMatchObject({
    ok: true,
    event: "done",
    toRemote: direction,
    toLocal: direction,
    healedMs: expect.any(Number),
  });
  expect(stdout).not.toContain("PRIVATE KEY");
  expect(readdirSync(temporary)).toEqual([]);
  expect(existsSync(home.stateDir)).toBe(false);
  expect(await runningIn(temporary)).toEqual([]);
});

test.each(["gateways", "nodes"])("SIGINT after the step %s ends everything that was started", async (step) => {
  const { home, temporary, start } = machineForDemo();
  using _home = home;
  await using demo = start("demo --json");
  await demo.events.find((event: CliEvent) => event["step"] === step);
  expect(await runningIn(temporary)).not.toEqual([]);
  expect(await demo.stop("SIGINT")).toMatchObject({ code: 130, signal: null });
  expect(await runningIn(temporary)).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);
});

test.each<[when: string, (event: CliEvent) => boolean]>([
  ["after the gateways have started", (event) => event["step"] === "gateways"],
  ["while the nodes ask", (event) => event["step"] === "tunnel"],
  ["when everything is up", (event) => event["event"] === "up"],
])("kill -9 %s: what it started ends by itself, and the next demo removes its files", async (_when, isTime) => {
  const { home, temporary, start } = machineForDemo();
  using _home = home;
  await using demo = start("demo --keep --json");
  await demo.events.find(isTime);
  expect(await runningIn(temporary)).not.toEqual([]);
  demo.child.kill("SIGKILL");
  await demo.ended;
  await expect.poll(() => runningIn(temporary), { timeout: 30_000 }).toEqual([]);
  const [left = ""] = readdirSync(temporary);
  expect(readdirSync(join(temporary, left))).toContain("laptop");
  await using next = start("demo --json");
  await next.events.find((event: CliEvent) => event["step"] === "gateways");
  expect(readdirSync(temporary)).toEqual([expect.not.stringMatching(left)]);
  expect(await next.stop("SIGINT")).toMatchObject({ code: 130 });
  expect(readdirSync(temporary)).toEqual([]);
});

test("--keep stays up with commands that work when they are pasted, until it is stopped", async () => {
  const { home, start } = machineForDemo();
  using _home = home;
  await using demo = start("demo --keep --json");
  const up = await demo.event("up");
  for (const line of textsAt(up, "tryThis")) {
    const { stdout } = await run(
      "bash",
      [
        "-c",
        `openclaw() { "${process.execPath}" "${binPath}" "$@"; }; export ${line.replace(" openclaw ", "; openclaw ")} --json`,
      ],
      { env: home.env() },
    );
    expect(JSON.parse(stdout)).toMatchObject({ ok: true });
  }
  expect(await demo.stop("SIGINT")).toMatchObject({ code: 0, signal: null });
});

test("in a checkout --keep first says what openclaw is, and a shell that sets more finds the demo's gateways all the same", async () => {
  const home = new CliHome();
  using _home = home;
  const temporary = home.path("a temporary directory");
  mkdirSync(temporary);
  const env = { TMPDIR: temporary, OPENCLAW_PROFILE: "work", OPENCLAW_GATEWAY_URL: "ws://127.0.0.1:1" };
  await using demo = home.spawn("demo --keep", { env });
  let said = "";
  demo.child.stdout?.on("data", (text: string) => (said += text));
  await expect.poll(() => said, { timeout: 30_000 }).toContain("Ctrl-C ends it.");
  const lines = said.split("\n").filter((line) => /^ {2}\S.*openclaw/u.test(line));
  expect(lines).toHaveLength(4);
  const { stdout } = await run("sh", ["-c", `set -e\n${lines.join("\n")}`], { env: home.env(env) });
  expect(stdout).toContain("laptop");
  expect(await demo.stop("SIGINT")).toMatchObject({ code: 0, signal: null });
});

test("without sshd the demo brings an SSH server of its own", async () => {
  const steps: DemoStep[] = [];
  const result = await runDemo({
    launcher: { command: process.execPath, args: [binPath] },
    env: process.env,
    runtime: systemRuntime,
    signal: new AbortController().signal,
    sshdPaths: [],
    onStep: (step) => steps.push(step),
  });
  expect(result).toMatchObject({ ssh: "in-process", toRemote: direction, toLocal: direction });
  expect(steps.map(({ step }) => step)).toContain("verify");
});

/** Processes that have anything to do with a directory, by command line or environment (Linux: proc(5)). */
async function runningIn(directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/u.test(name) && Number(name) !== process.pid)) {
    const texts = await Promise.all(
      ["cmdline", "environ"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "")),
    );
    if (texts.some((text) => text.includes(directory))) found.push(`${pid} ${texts[0]?.replaceAll("\0", " ")}`);
  }
  return found;
}

function textsAt(event: CliEvent, name: string): readonly string[] {
  const value = at(event, name);
  return Array.isArray(value) ? value.map(String) : [];
}
