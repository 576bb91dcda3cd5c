import { join } from "node:path";
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runTimeoutMs } from "../../../src/node/handlers/system-run.ts";
import { approvalsText, startNode } from "./node.ts";
import { eventually, isRunning, pidFrom, temporaryDirectory, writeScript } from "./processes.ts";

const denied = (text: string) => ({
  code: "UNAVAILABLE",
  message: expect.stringMatching(`^SYSTEM_RUN_DENIED: ${text}`),
});
const invalid = (text: string) => ({ code: "INVALID_REQUEST", message: expect.stringContaining(text) });

describe("which policy counts", () => {
  type Options = Parameters<typeof startNode>[0];

  test.each<[name: string, options: Options]>([
    ["the flag full runs", { execPolicy: "full" }],
    ["--allow alone adds to the empty list", { allow: ["echo"] }],
    ["--allow adds to the file's list", { approvals: approvalsText("allowlist", "cat"), allow: ["echo"] }],
    ["the file's list counts", { approvals: approvalsText("allowlist", "echo") }],
    ["the file's security counts", { approvals: approvalsText("full") }],
  ])("%s", async (_name, options) => {
    const result = await startNode(options).invoke("system.run", { command: ["echo", "hi"] });
    expect(result).toMatchObject({ success: true, stdout: "hi\n" });
  });

  test.each<[name: string, options: Options, want: string]>([
    ["with nothing set nothing runs", {}, "allowlist miss"],
    ["the flag deny denies, whatever is listed", { execPolicy: "deny", allow: ["echo"] }, "security=deny"],
    ["the file's deny beats --allow", { approvals: approvalsText("deny"), allow: ["echo"] }, "security=deny"],
    [
      "the flag allowlist is not widened by the file",
      { execPolicy: "allowlist", approvals: approvalsText("full", "echo") },
      "allowlist miss",
    ],
    [
      "the flag deny is not widened by the file",
      { execPolicy: "deny", approvals: approvalsText("full", "echo") },
      "security=deny",
    ],
    [
      "a file that asks is a denial",
      { approvals: '{"version":1,"defaults":{"security":"full","ask":"always"}}' },
      "approval required",
    ],
    [
      "a file that cannot be parsed is a denial that names it",
      { approvals: "{", allow: ["echo"] },
      "exec approvals file /state/exec-approvals.json is not JSON",
    ],
  ])("%s", async (_name, options, want) => {
    const attempt = startNode(options).invoke("system.run", { command: ["echo", "hi"] });
    await expect(attempt).rejects.toMatchObject(denied(want));
  });

  test("neither approved nor approvalDecision opens what the policy closes", async () => {
    const params = {
      command: ["echo"],
      approved: true,
      approvalDecision: "allow-always",
      systemRunPlan: {},
      runId: "r",
    };
    await expect(startNode().invoke("system.run", params)).rejects.toMatchObject(denied("allowlist miss"));
  });

  test("a change of the file counts from the next run on", async () => {
    const node = startNode();
    await expect(node.invoke("system.run", { command: ["echo"] })).rejects.toMatchObject(denied("allowlist miss"));
    await node.invoke("system.execApprovals.set", { file: JSON.parse(approvalsText("allowlist", "echo")) });
    expect(await node.invoke("system.run", { command: ["echo"] })).toMatchObject({ success: true });
  });

  test.each(["", "./x", "bin/x", "../x"])("an --allow of %j is refused at the start", (entry) => {
    expect(() => startNode({ allow: [entry] })).toThrow(expect.objectContaining({ code: "usage" }));
  });
});

describe("ways around the allowlist", () => {
  /** A directory the caller controls, with a program in it that is called like a listed one. */
  function trap() {
    const directory = temporaryDirectory();
    const program = writeScript(join(directory.path, "uname"), "echo hijacked");
    return { program, path: directory.path, [Symbol.dispose]: () => directory[Symbol.dispose]() };
  }

  test("a listed name is never taken from the working directory", async () => {
    using evil = trap();
    const node = startNode({ allow: ["uname"] });
    const result = await node.invoke("system.run", { command: ["uname"], cwd: evil.path });
    expect(result).toMatchObject({ success: true, stdout: expect.not.stringContaining("hijacked") });
  });

  test("nor from relative or empty entries of the node's own PATH", async () => {
    using evil = trap();
    const node = startNode({ allow: ["uname", "sh"], pathEnv: ":.:/usr/bin:/bin" });
    for (const command of [["uname"], ["sh", "-c", "uname"]]) {
      const result = await node.invoke("system.run", { command, cwd: evil.path });
      expect(result).toMatchObject({ success: true, stdout: expect.not.stringContaining("hijacked") });
    }
  });

  test.each<[name: string, command: (evil: string) => string[]]>([
    ["a relative path", () => ["./uname"]],
    ["a relative path with a detour", () => ["x/../uname"]],
    ["an absolute path elsewhere", (evil) => [`${evil}/uname`]],
    ["an absolute path that passes by the right directory", (evil) => [`/usr/bin/../..${evil}/uname`]],
    ["env", () => ["env", "uname"]],
    ["a shell", () => ["sh", "-c", "uname"]],
    ["a shell by path", () => ["/bin/sh", "-c", "uname"]],
    ["other letters", () => ["UNAME"]],
    ["a blank behind", () => ["uname "]],
    ["a glob as a name", () => ["unam*"]],
    ["a program that is not there", () => ["no-such-program"]],
  ])("listing uname does not allow %s", async (_name, command) => {
    using evil = trap();
    const node = startNode({ allow: ["uname"] });
    const [first = "", ...rest] = command(evil.path);
    const attempt = node.invoke("system.run", { command: [first, ...rest], cwd: evil.path });
    await expect(attempt).rejects.toMatchObject(denied("allowlist miss"));
  });

  test("the resolved path of a listed name is allowed: it is what prepare answers", async () => {
    const node = startNode({ allow: ["uname"] });
    const prepared = await node.invoke("system.run.prepare", { command: ["uname", "-s"] });
    const { argv } = (prepared as { plan: { argv: string[] } }).plan;
    expect(argv).toEqual(["/usr/bin/uname", "-s"]);
    expect(await node.invoke("system.run", { command: argv })).toMatchObject({ success: true });
  });

  test("two links to one binary: listing one allows neither the other nor the binary", async () => {
    using directory = temporaryDirectory();
    const at = (name: string) => join(directory.path, name);
    copyFileSync("/bin/echo", at("multi"));
    symlinkSync("multi", at("good"));
    symlinkSync("multi", at("evil"));
    const node = startNode({ allow: [at("good")] });
    expect(await node.invoke("system.run", { command: [at("good"), "ran"] })).toMatchObject({ stdout: "ran\n" });
    await expect(node.invoke("system.run", { command: [at("evil")] })).rejects.toMatchObject(denied("allowlist miss"));
    await expect(node.invoke("system.run", { command: [at("multi")] })).rejects.toMatchObject(denied("allowlist miss"));
  });

  test("a link to a listed program starts the program under its own name", async () => {
    using directory = temporaryDirectory();
    const real = writeScript(join(directory.path, "real"), 'echo "$0"');
    symlinkSync(real, join(directory.path, "link"));
    const node = startNode({ allow: [real] });
    expect(await node.invoke("system.run", { command: [join(directory.path, "link")] })).toMatchObject({
      stdout: `${real}\n`,
    });
  });

  test("a directory that is a link is followed on both sides", async () => {
    using directory = temporaryDirectory();
    mkdirSync(join(directory.path, "tools"));
    const program = writeScript(join(directory.path, "tools", "go"), "echo went");
    symlinkSync("tools", join(directory.path, "alias"));
    for (const entry of [program, join(directory.path, "alias", "go"), join(directory.path, "alias", "*")]) {
      const node = startNode({ allow: [entry] });
      for (const command of [[program], [join(directory.path, "alias", "go")], ["./tools/go"]]) {
        expect(await node.invoke("system.run", { command, cwd: directory.path })).toMatchObject({ stdout: "went\n" });
      }
    }
  });

  test("a link inside an allowed directory is the owner's; one outside that leads nowhere allowed is not", async () => {
    using directory = temporaryDirectory();
    mkdirSync(join(directory.path, "tools"));
    symlinkSync("/bin/echo", join(directory.path, "outside"));
    const node = startNode({ allow: [join(directory.path, "tools", "*")] });
    const attempt = node.invoke("system.run", { command: [join(directory.path, "tools", "..", "outside")] });
    await expect(attempt).rejects.toMatchObject(denied("allowlist miss"));
  });

  test("~/ in an entry is the node's home", async () => {
    using directory = temporaryDirectory();
    writeScript(join(directory.path, "mine"), "echo mine");
    const node = startNode({ allow: ["~/*"], env: { PATH: "/usr/bin:/bin", HOME: directory.path } });
    expect(await node.invoke("system.run", { command: ["./mine"], cwd: "~" })).toMatchObject({ stdout: "mine\n" });
  });

  test.each(["PATH", "LD_PRELOAD", "BASH_ENV", "NODE_OPTIONS", "GIT_SSH_COMMAND"])(
    "%s may not be set under an allowlist, and the message says so",
    async (name) => {
      const node = startNode({ allow: ["env"] });
      const attempt = node.invoke("system.run", { command: ["env"], env: { [name]: "/tmp/x", FINE: "1" } });
      await expect(attempt).rejects.toMatchObject(denied(`env may not set ${name}:`));
      expect(node.events).toMatchObject([{ event: "exec.denied", payload: { reason: "env-override" } }]);
    },
  );

  test("a full policy takes the caller's PATH, but still looks the program up in its own", async () => {
    using evil = trap();
    const node = startNode({ execPolicy: "full" });
    expect(await node.invoke("system.run", { command: ["sh", "-c", "uname"], env: { PATH: evil.path } })).toMatchObject(
      { stdout: "hijacked\n" },
    );
    const direct = await node.invoke("system.run", { command: ["uname"], env: { PATH: evil.path } });
    expect(direct).toMatchObject({ stdout: expect.not.stringContaining("hijacked") });
  });
});

describe("running", () => {
  const node = startNode({ execPolicy: "full" });

  test("a program that is not there is a result with an error", async () => {
    const result = await node.invoke("system.run", { command: ["no-such-program"] });
    expect(result).toEqual({
      timedOut: false,
      success: false,
      stdout: "",
      stderr: "",
      error: "could not start no-such-program: no such program on this node",
    });
  });

  test("so is a directory that is not there", async () => {
    const result = await node.invoke("system.run", { command: ["uname"], cwd: "/no/such/dir" });
    expect(result).toMatchObject({
      success: false,
      error: "could not start /usr/bin/uname: no directory /no/such/dir",
    });
  });

  test("the caller's variables come on top of the node's, without the node's credentials", async () => {
    const secrets = {
      OPENCLAW_GATEWAY_TOKEN: "t0p",
      OPENCLAW_GATEWAY_PASSWORD: "t0p",
      OPENCLAW_GATEWAY_HEADERS: "t0p",
      CF_ACCESS_CLIENT_ID: "t0p",
      CF_ACCESS_CLIENT_SECRET: "t0p",
    };
    const own = { PATH: "/usr/bin:/bin", HOME: "/", KEPT: "yes", REPLACED: "old", ...secrets };
    const careful = startNode({ execPolicy: "full", env: own });
    const result = await careful.invoke("system.run", { command: ["env"], env: { REPLACED: "new" } });
    const { stdout } = result as { stdout: string };
    expect(stdout.trim().split("\n").toSorted()).toEqual(["HOME=/", "KEPT=yes", "PATH=/usr/bin:/bin", "REPLACED=new"]);
  });

  test("a time-out says timedOut and has no code", async () => {
    const result = await node.invoke("system.run", { command: ["sleep", "1000"], timeoutMs: 50 });
    expect(result).toMatchObject({ timedOut: true, success: false });
    expect(result).not.toHaveProperty("exitCode");
  });

  test("a command does not outlive its invoke", async () => {
    const short = startNode({ execPolicy: "full", context: { timeoutMs: 100 } });
    const result = await short.invoke("system.run", { command: ["sleep", "1000"], timeoutMs: 600_000 });
    expect(result).toMatchObject({ timedOut: true });
  });

  test("an aborted invoke stops the program and is an error", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const controller = new AbortController();
    const stoppable = startNode({ execPolicy: "full", context: { signal: controller.signal } });
    const running = stoppable.invoke("system.run", { command: ["sh", "-c", `echo $$ > ${pidFile}; exec sleep 1000`] });
    const pid = await pidFrom(pidFile);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("cancelled") });
    await eventually(() => !isRunning(pid));
  });

  test.each<[name: string, params: unknown, text: string]>([
    ["no params", undefined, "command required"],
    ["no command", {}, "command required"],
    ["an empty command", { command: [] }, "command required"],
    ["an empty program", { command: [""] }, "command required"],
    ["one string", { command: "uname -s" }, "command must be an array of strings"],
    ["a number among the words", { command: ["uname", 1] }, "command.1 must be an array of strings"],
    ["a NUL in a word", { command: ["uname", "a\0b"] }, "command.1 must not contain NUL"],
    [
      "too many words",
      { command: Array.from({ length: 1_001 }, () => "x") },
      "command must not have more than 1000 words",
    ],
    ["too long", { command: ["x".repeat(100_001)] }, "command must not be longer than 100000 characters"],
    ["a relative directory", { command: ["uname"], cwd: "src" }, "cwd must be absolute or begin with ~/"],
    ["a NUL in the directory", { command: ["uname"], cwd: "/a\0" }, "cwd must not contain NUL"],
    ["env that is a list", { command: ["uname"], env: ["A=1"] }, "env must be an object of strings"],
    ["env with a number", { command: ["uname"], env: { A: 1 } }, "env.A must be a string"],
    ["env with a bad name", { command: ["uname"], env: { "A=B": "1" } }, "env.A=B must have names"],
    [
      "too many variables",
      { command: ["uname"], env: Object.fromEntries(Array.from({ length: 201 }, (_, n) => [`V${n}`, ""])) },
      "env must not have more than 200",
    ],
    ["too much env", { command: ["uname"], env: { A: "x".repeat(100_000) } }, "env must not be longer"],
    ["a negative time", { command: ["uname"], timeoutMs: -1 }, "timeoutMs must not be negative"],
    ["a time that is text", { command: ["uname"], timeoutMs: "5s" }, "timeoutMs must be a number"],
    ["params that are no object", [], "command required"],
  ])("%s: INVALID_REQUEST", async (_name, params, text) => {
    await expect(node.invoke("system.run", params)).rejects.toMatchObject(invalid(text));
  });

  test("the limits themselves still pass, and so do null and fields of newer gateways", async () => {
    const words = ["true", ...Array.from({ length: 999 }, () => "x")];
    expect(
      await node.invoke("system.run", { command: words, cwd: null, env: null, timeoutMs: null, new: {} }),
    ).toMatchObject({ success: true });
  });

  test.each<[asked: number | undefined, invoke: number, want: number]>([
    [undefined, 15_000, 13_000],
    [5_000, 15_000, 5_000],
    [20_000, 15_000, 13_000],
    [0, 15_000, 13_000],
    [undefined, 1_000, 750],
    [0.5, 1_000, 1],
    [1e12, 1e12, 3_598_000],
    [5_000, 0, 5_000],
    [undefined, 0, 3_598_000],
  ])("asked for %s ms within an invoke of %s ms: %s ms", (asked, invokeMs, want) => {
    expect(runTimeoutMs(asked, invokeMs)).toBe(want);
  });
});

describe("events", () => {
  test("a denial is told, with the fallbacks that real hosts use", async () => {
    const node = startNode();
    await expect(node.invoke("system.run", { command: ["uname", "-s"], timeoutMs: 5000 })).rejects.toThrow(
      "SYSTEM_RUN_DENIED",
    );
    expect(node.events).toEqual([
      {
        event: "exec.denied",
        payload: {
          sessionKey: "node",
          runId: expect.stringMatching(/^[0-9a-f-]{36}$/u),
          host: "node",
          command: "uname -s",
          reason: "allowlist-miss",
        },
      },
    ]);
  });

  test("start and end are told to the session that was named", async () => {
    const node = startNode({ execPolicy: "full" });
    const about = {
      sessionKey: "agent:main:main",
      runId: "run-1",
      host: "node",
      command: 'sh -c "echo a; echo b >&2; exit 3"',
    };
    await node.invoke("system.run", {
      command: ["sh", "-c", "echo a; echo b >&2; exit 3"],
      rawCommand: "harmless",
      sessionKey: about.sessionKey,
      runId: "run-1",
    });
    expect(node.events).toEqual([
      { event: "exec.started", payload: about },
      {
        event: "exec.finished",
        payload: { ...about, exitCode: 3, timedOut: false, success: false, output: "a\n\nb\n" },
      },
    ]);
  });

  test("nobody is told where no session was named", async () => {
    const node = startNode({ execPolicy: "full" });
    await node.invoke("system.run", { command: ["true"] });
    expect(node.events).toEqual([]);
  });

  test("an event holds the end of a long output", async () => {
    const node = startNode({ execPolicy: "full" });
    await node.invoke("system.run", { command: ["sh", "-c", "yes | head -c 100000; printf end"], sessionKey: "s" });
    expect(node.events[1]).toMatchObject({ payload: { output: `${"y\n".repeat(10_000).slice(-19_997)}end` } });
  });
});

describe("system.run.prepare", () => {
  test("answers what every product version reads", async () => {
    const node = startNode({ approvals: approvalsText("full") });
    const params = {
      command: ["echo", "a b", 'c"d', ""],
      cwd: "/tmp",
      agentId: "main",
      sessionKey: "s",
      rawCommand: "ignored",
    };
    const text = String.raw`/usr/bin/echo "a b" "c\"d" ""`;
    expect(await node.invoke("system.run.prepare", params)).toEqual({
      cmdText: text,
      plan: {
        argv: ["/usr/bin/echo", "a b", 'c"d', ""],
        cwd: "/tmp",
        commandText: text,
        commandPreview: null,
        rawCommand: text,
        agentId: "main",
        sessionKey: "s",
      },
      execPolicy: { security: "full", ask: "off" },
    });
  });

  test("leaves a program that is not there as it was named, and absent fields null", async () => {
    expect(await startNode().invoke("system.run.prepare", { command: ["no-such-program"] })).toMatchObject({
      plan: { argv: ["no-such-program"], cwd: null, agentId: null, sessionKey: null },
      execPolicy: { security: "allowlist", ask: "off" },
    });
  });

  test("needs a command", async () => {
    await expect(startNode().invoke("system.run.prepare", { command: [] })).rejects.toMatchObject(
      invalid("command required"),
    );
  });
});
