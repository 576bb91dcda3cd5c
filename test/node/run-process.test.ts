import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type ProcessRequest, runProcess } from "../../src/node/run-process.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { eventually, isRunning, pidFrom, temporaryDirectory } from "./handlers/processes.ts";

const never = new AbortController().signal;
const env = { PATH: "/usr/bin:/bin" };

const run = (path: string, args: string[], rest: Partial<ProcessRequest> = {}) =>
  runProcess({ path, args, cwd: "/", env, timeoutMs: 50_000, signal: never, runtime: systemRuntime, ...rest });
const sh = (script: string, rest?: Partial<ProcessRequest>) => run("/bin/sh", ["-c", script], rest);

test("a program that succeeds gives its output and code 0", async () => {
  expect(await sh("printf out; printf err >&2")).toEqual({
    exitCode: 0,
    timedOut: false,
    success: true,
    stdout: "out",
    stderr: "err",
    error: null,
  });
});

test("a program that fails keeps its code", async () => {
  expect(await sh("exit 7")).toMatchObject({ exitCode: 7, success: false, timedOut: false, error: null });
});

test("words reach the program as they are, no shell takes them apart", async () => {
  const words = ["$HOME", "a b", "`id`", "; echo x", "*", "", "'", '"'];
  expect((await run("/usr/bin/printf", ["<%s>", ...words])).stdout).toBe(words.map((word) => `<${word}>`).join(""));
});

test("the directory and the environment are the ones given, and nothing else", async () => {
  using directory = temporaryDirectory();
  const { stdout } = await run("/usr/bin/env", [], { cwd: directory.path, env: { ONLY: "this" } });
  expect(stdout).toBe("ONLY=this\n");
  expect((await run("/bin/pwd", [], { cwd: directory.path })).stdout).toBe(`${directory.path}\n`);
});

test("stdin is at its end from the start", async () => {
  expect(await run("/bin/cat", [])).toMatchObject({ exitCode: 0, stdout: "" });
});

test("a death by signal has no code and names the signal", async () => {
  const result = await sh("kill -SEGV $$");
  expect(result).toMatchObject({ success: false, timedOut: false, error: "ended by signal SIGSEGV" });
  expect(result).not.toHaveProperty("exitCode");
});

describe("what cannot be started is a result, not an exception", () => {
  test.each<[name: string, path: string, rest: Partial<ProcessRequest>, error: string]>([
    ["no such program", "/no/such/program", {}, "could not start /no/such/program: ENOENT"],
    ["no permission", "/etc/passwd", {}, "could not start /etc/passwd: EACCES"],
    ["a directory", "/etc", {}, "could not start /etc: EACCES"],
    [
      "no such working directory",
      "/bin/true",
      { cwd: "/no/such/dir" },
      "could not start /bin/true: no directory /no/such/dir",
    ],
  ])("%s", async (_name, path, rest, error) => {
    expect(await run(path, [], rest)).toEqual({ timedOut: false, success: false, stdout: "", stderr: "", error });
  });

  test("more words than the kernel takes", async () => {
    const result = await run("/bin/true", ["x".repeat(3_000_000)]);
    expect(result).toMatchObject({ success: false, error: "could not start /bin/true: E2BIG" });
  });
});

describe("output", () => {
  test.each([-1, 0, 1])("a limit that is the output's length %+i cuts only what is beyond it", async (difference) => {
    const { stdout } = await run("/usr/bin/printf", ["0123456789"], { maxOutputChars: 10 + difference });
    expect(stdout).toBe("0123456789".slice(0, 10 + difference));
  });

  test("a program that writes far beyond the cap is neither blocked nor kept in memory", async () => {
    const result = await sh("head -c 5000000 /dev/zero | tr '\\0' x; echo done >&2");
    expect(result).toMatchObject({ exitCode: 0, stderr: "done\n" });
    expect(result.stdout).toBe("x".repeat(200_000));
  });

  test("the two streams have a cap each", async () => {
    const { stdout, stderr } = await sh("printf aaaaaa; printf bbbbbb >&2", { maxOutputChars: 4 });
    expect([stdout, stderr]).toEqual(["aaaa", "bbbb"]);
  });

  // 240 KB through a pipe of 64 KiB, off by one byte: every read ends inside a character.
  test("many characters of four bytes survive chunk boundaries", async () => {
    const { stdout } = await sh("printf x; yes '😀' | head -n 60000 | tr -d '\\n'");
    expect(stdout).toBe(`x${"😀".repeat(60_000)}`);
  });

  test("the cap never leaves half a surrogate pair", async () => {
    expect((await run("/usr/bin/printf", ["a😀b"], { maxOutputChars: 2 })).stdout).toBe("a");
    expect((await run("/usr/bin/printf", ["a😀b"], { maxOutputChars: 3 })).stdout).toBe("a😀");
  });

  test("bytes that are no UTF-8 become replacement characters", async () => {
    expect((await run("/usr/bin/printf", [String.raw`a\377b\303`])).stdout).toBe("a\uFFFDb\uFFFD");
  });
});

describe("stopping", () => {
  test("at the deadline the whole group goes, grandchildren too, and the output so far is kept", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const deadline = Promise.withResolvers<void>();
    const runtime = { ...systemRuntime, after: afterReady(deadline.promise) };
    const result = sh(`echo started; (sh -c 'echo $$ > ${pidFile}; exec sleep 1000'; true) & wait`, { runtime });
    const grandchild = await pidFrom(pidFile);
    expect(isRunning(grandchild)).toBe(true);
    deadline.resolve();
    const ended = await result;
    expect(ended).toMatchObject({ timedOut: true, success: false, stdout: "started\n" });
    expect(ended.error).toContain("50000 ms");
    expect(ended).not.toHaveProperty("exitCode");
    await eventually(() => !isRunning(grandchild));
  });

  test("the real deadline stops a program that would run for ever", async () => {
    expect(await run("/bin/sleep", ["1000"], { timeoutMs: 50 })).toMatchObject({ timedOut: true, success: false });
  });

  test("a program that writes without end is stopped too", async () => {
    const result = await run("/usr/bin/yes", [], { timeoutMs: 300 });
    expect(result).toMatchObject({ timedOut: true, stdout: "y\n".repeat(100_000) });
  });

  test("who ignores SIGTERM gets SIGKILL", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const deadline = Promise.withResolvers<void>();
    const runtime = { ...systemRuntime, after: afterReady(deadline.promise) };
    const result = sh(`trap '' TERM; echo $$ > ${pidFile}; while :; do sleep 1000; done`, { runtime });
    const pid = await pidFrom(pidFile);
    deadline.resolve();
    expect(await result).toMatchObject({ timedOut: true });
    await eventually(() => !isRunning(pid));
  });

  test("who handles SIGTERM may end in peace, and it is still a time-out", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const deadline = Promise.withResolvers<void>();
    const runtime = { ...systemRuntime, after: afterReady(deadline.promise) };
    const script = `trap 'echo bye; exit 0' TERM; echo $$ > ${pidFile}; while :; do sleep 0.05; done`;
    const result = sh(script, { runtime });
    await pidFrom(pidFile);
    deadline.resolve();
    expect(await result).toMatchObject({ timedOut: true, success: false, stdout: "bye\n" });
  });

  test("the signal stops the group, and its reason comes out", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const controller = new AbortController();
    const result = sh(`sh -c 'echo $$ > ${pidFile}; exec sleep 1000' & wait`, { signal: controller.signal });
    const grandchild = await pidFrom(pidFile);
    controller.abort(new Error("session gone"));
    await expect(result).rejects.toThrow("session gone");
    await eventually(() => !isRunning(grandchild));
  });

  test("nothing is started once the signal is aborted", async () => {
    using directory = temporaryDirectory();
    const marker = join(directory.path, "ran");
    await expect(sh(`echo 1 > ${marker}`, { signal: AbortSignal.abort(new Error("too late")) })).rejects.toThrow(
      "too late",
    );
    expect((await run("/bin/ls", [directory.path])).stdout).toBe("");
  });

  test("a background process that holds the pipes does not hold the result", async () => {
    using directory = temporaryDirectory();
    const pidFile = join(directory.path, "pid");
    const result = await sh(`sh -c 'echo $$ > ${pidFile}; exec sleep 1000' & echo answer`);
    expect(result).toMatchObject({ exitCode: 0, stdout: "answer\n", timedOut: false });
    const left = await pidFrom(pidFile);
    expect(isRunning(left)).toBe(true);
    process.kill(left);
  });

  test("a background process that goes on writing does not hold the result either", async () => {
    const result = await sh("(trap '' PIPE; while :; do echo noise 2>&- || exit; sleep 0.05; done) & echo answer");
    expect(result).toMatchObject({ exitCode: 0, timedOut: false, stdout: expect.stringContaining("answer\n") });
  });
});

/** A deadline that comes when the test says so: once the program is known to be where the test wants it. */
function afterReady(ready: Promise<void>) {
  return (_ms: number, action: () => void) => {
    let isCancelled = false;
    void ready.then(() => (isCancelled ? undefined : action()));
    return () => {
      isCancelled = true;
    };
  };
}
