/** launchd: the text of an agent, and what is said to launchctl. There is no launchd here: what it answers is written down. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { agentText } from "../../src/service/launch-agent.ts";
import { Launchd, stateIn } from "../../src/service/launchd.ts";
import type { ProgramResult } from "../../src/service/run-program.ts";
import type { ServiceSpec } from "../../src/service/service-spec.ts";

const spec: ServiceSpec = {
  description: "OpenClaw node host",
  command: ["/opt/node js/bin/node", "/opt/openclaw.js", "node", "run", "--display-name=R&D <lab>"],
  environment: { PATH: "/usr/bin:/bin" },
  withoutEnvironment: [],
  finalExitCodes: [2, 4],
  workingDirectory: "/Users/ada",
  logPath: "/Users/ada/.openclaw/toolkit/logs/node.log",
  owner: { name: "node", stateDir: "/Users/ada/.openclaw", envFile: "/Users/ada/.openclaw/toolkit/services/node.env" },
};

test("an agent says all that launchd needs to know", () => {
  expect(agentText("openclaw-toolkit.node", spec)).toMatchInlineSnapshot(`
    "<?xml version="1.0" encoding="UTF-8"?>
    <!-- openclaw-service {"version":1,"name":"node","stateDir":"/Users/ada/.openclaw","envFile":"/Users/ada/.openclaw/toolkit/services/node.env"} -->
    <!-- Written by openclaw node install, which also replaces it; openclaw node uninstall removes it. -->
    <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
    <plist version="1.0">
    <dict>
      <key>Label</key>
      <string>openclaw-toolkit.node</string>
      <key>ProgramArguments</key>
      <array>
        <string>/opt/node js/bin/node</string>
        <string>/opt/openclaw.js</string>
        <string>node</string>
        <string>run</string>
        <string>--display-name=R&amp;D &lt;lab&gt;</string>
      </array>
      <key>EnvironmentVariables</key>
      <dict>
        <key>PATH</key>
        <string>/usr/bin:/bin</string>
      </dict>
      <key>WorkingDirectory</key>
      <string>/Users/ada</string>
      <key>RunAtLoad</key>
      <true/>
      <key>KeepAlive</key>
      <dict>
        <key>SuccessfulExit</key>
        <false/>
      </dict>
      <key>ThrottleInterval</key>
      <integer>10</integer>
      <key>ExitTimeOut</key>
      <integer>10</integer>
      <key>HardResourceLimits</key>
      <dict>
        <key>Core</key>
        <integer>0</integer>
      </dict>
      <key>StandardOutPath</key>
      <string>/dev/null</string>
      <key>StandardErrorPath</key>
      <string>/Users/ada/.openclaw/toolkit/logs/node.log</string>
    </dict>
    </plist>
    "
  `);
});

test("whatever the words are, they are character data and come back as they were", () => {
  const word = fc.string({ unit: fc.constantFrom("&", "<", ">", "]", '"', "'", ";", "a", "m", "p", "é", "🦀") });
  fc.assert(
    fc.property(fc.array(word), (words) => {
      const text = agentText("x", { ...spec, command: ["/bin/x", ...words] });
      const array = /<array>([^]*)<\/array>/u.exec(text)?.[1] ?? "";
      const read = [...array.matchAll(/<string>([^<>]*)<\/string>/gu)].map(([, inner = ""]) => {
        expect(inner).not.toMatch(/&(?!(?:amp|lt|gt);)/u);
        return inner.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
      });
      expect(read).toEqual(["/bin/x", ...words]);
    }),
  );
});

/** A launchctl whose answers are given by the words it gets, the last fitting one first; what it was asked is kept. */
class Launchctl implements Disposable {
  readonly asked: string[] = [];
  readonly home = mkdtempSync(join(tmpdir(), "launchd-"));
  readonly log = join(this.home, "logs", "node.log");
  printed = "\tstate = running\n\tpid = 7\n";
  #isLoaded = false;
  readonly #refusals: Readonly<Record<string, Partial<ProgramResult>>>;

  constructor(refusals: Readonly<Record<string, Partial<ProgramResult>>> = {}) {
    this.#refusals = refusals;
  }

  readonly manager = (): Launchd =>
    new Launchd({
      home: this.home,
      uid: 501,
      runtime: systemRuntime,
      logOf: () => this.log,
      advice: "log in",
      run: async (program, words) => this.#answer(program, words),
    });

  #answer(program: string, words: readonly string[]): ProgramResult {
    const [verb = "", target = ""] = words;
    this.asked.push([program, ...words].join(" ").replaceAll(this.home, "~"));
    const done = { code: 0, stdout: "", stderr: "", ...this.#refusals[verb] };
    if (done.code !== 0) return done;
    if (verb === "bootstrap") this.#isLoaded = true;
    if (verb === "bootout") this.#isLoaded = false;
    const isMissing = verb === "print" && target.includes("/openclaw") && !this.#isLoaded;
    if (isMissing) return { code: 113, stdout: "", stderr: "Could not find service" };
    return verb === "print" ? { ...done, stdout: this.printed } : done;
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

const target = "gui/501/openclaw-toolkit.node";
const plist = "~/Library/LaunchAgents/openclaw-toolkit.node.plist";

test("an agent is loaded to start it, and unloaded to stop it", async () => {
  using launchctl = new Launchctl();
  const manager = launchctl.manager();
  await manager.enable("node");
  await manager.start("node");
  await manager.start("node");
  launchctl.printed = "\tstate = not running\n\tlast exit code = 0\n";
  await manager.start("node");
  await manager.restart("node");
  await manager.stop("node");
  await manager.disable("node");
  expect(launchctl.asked.filter((line) => !line.startsWith("launchctl print"))).toEqual([
    `launchctl enable ${target}`,
    `launchctl bootstrap gui/501 ${plist}`,
    `launchctl bootout ${target}`,
    `launchctl bootstrap gui/501 ${plist}`,
    `launchctl bootout ${target}`,
    `launchctl bootstrap gui/501 ${plist}`,
    `launchctl bootout ${target}`,
  ]);
});

test.each<[what: string, refusal: Partial<ProgramResult>, code: string]>([
  ["there is no launchctl", { code: "missing" }, "no-service-manager"],
  ["there is no session", { code: 125, stderr: "Domain does not support specified action" }, "no-service-manager"],
  ["the agent is not taken", { code: 5, stderr: "Bootstrap failed: 5: Input/output error" }, "failed"],
])("%s: %o is %s", async (_what, refusal, code) => {
  using launchctl = new Launchctl({ bootstrap: refusal });
  await expect(launchctl.manager().start("node")).rejects.toMatchObject({ code });
});

test.each<[what: string, printed: string, state: object]>([
  ["not loaded", "", { run: "stopped" }],
  ["running", "\tstate = running\n\tpid = 4711\n", { run: "running", pid: 4711 }],
  ["ended well", "\tstate = not running\n\tlast exit code = 0\n", { run: "stopped", lastEnd: "exit code 0" }],
  ["ended badly", "\tstate = not running\n\tlast exit code = 8\n", { run: "restarting", lastEnd: "exit code 8" }],
  ["just loaded", "\tstate = not running\n\tlast exit code = (never exited)\n", { run: "running" }],
])("an agent that is %s", (_what, printed, state) => {
  expect(stateIn(printed, true)).toEqual({ enabled: true, ...state });
});

test("the files of agents give the services' names, and their log its last lines", async () => {
  using launchctl = new Launchctl();
  const agents = join(launchctl.home, "Library", "LaunchAgents");
  mkdirSync(agents, { recursive: true });
  mkdirSync(dirname(launchctl.log));
  for (const name of ["openclaw-toolkit.node.plist", "openclaw-toolkit.node-cloud.plist", "com.example.plist"])
    writeFileSync(join(agents, name), "");
  writeFileSync(launchctl.log, "one\ntwo\n\nthree\n");
  const manager = launchctl.manager();
  expect((await manager.names()).toSorted()).toEqual(["node", "node-cloud"]);
  expect(await manager.lastLines("node", 2)).toEqual(["two", "three"]);
});
