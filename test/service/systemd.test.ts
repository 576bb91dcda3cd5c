/** What systemctl says, and what it means. */
import { expect, test } from "vitest";
import type { ProgramResult } from "../../src/service/run-program.ts";
import { stateIn, Systemd } from "../../src/service/systemd.ts";

test.each<[what: string, shown: string, state: object]>([
  [
    "that is not there",
    "UnitFileState=\nActiveState=inactive\nSubState=dead\nMainPID=0\nExecMainCode=0\n",
    { run: "stopped" },
  ],
  [
    "that runs",
    "UnitFileState=enabled\nActiveState=active\nSubState=running\nMainPID=7\n",
    { enabled: true, run: "running", pid: 7 },
  ],
  [
    "that is about to start again",
    "ActiveState=activating\nSubState=auto-restart\nMainPID=0\nExecMainCode=1\nExecMainStatus=8\n",
    { run: "restarting", lastEnd: "exit code 8" },
  ],
  [
    "that failed",
    "ActiveState=failed\nSubState=failed\nMainPID=0\nExecMainCode=1\nExecMainStatus=4\n",
    { run: "failed", lastEnd: "exit code 4" },
  ],
  ["that was killed", "ActiveState=failed\nExecMainCode=2\nExecMainStatus=9\n", { run: "failed", lastEnd: "signal 9" }],
  ["that is going down", "ActiveState=deactivating\nSubState=stop-sigterm\nMainPID=7\n", { run: "running", pid: 7 }],
])("a unit %s", (_what, shown, state) => {
  expect(stateIn(shown)).toEqual({ enabled: false, ...state });
});

test.each<[what: string, answer: Partial<ProgramResult>, failure: object]>([
  ["there is none", { code: "missing" }, { code: "no-service-manager", hint: "the advice" }],
  [
    "there is no bus",
    { stderr: "Failed to connect to bus: No medium found" },
    { code: "no-service-manager", hint: "the advice", message: expect.stringContaining("No medium found") },
  ],
  [
    "systemd did not start the system",
    {
      stderr:
        "System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down",
    },
    { code: "no-service-manager" },
  ],
  [
    "it says no",
    { stderr: "Failed to stop openclaw-node.service: Access denied" },
    {
      code: "failed",
      message: "systemctl --user stop openclaw-node.service: Failed to stop openclaw-node.service: Access denied",
    },
  ],
])("systemctl: %s", async (_what, answer, failure) => {
  const run = async () => ({ code: 1, stdout: "", stderr: "", ...answer });
  const manager = new Systemd({ configHome: "/nowhere", run, advice: "the advice" });
  await expect(manager.stop("node")).rejects.toMatchObject(failure);
});

const notLoaded = {
  code: 5,
  stdout: "",
  stderr: "Failed to stop openclaw-node.service: Unit openclaw-node.service not loaded.",
};

test.each<[verb: string, words: string]>([
  ["disable", "Failed to disable unit: Unit file openclaw-node.service does not exist."],
  ["disable", "Failed to disable unit: Unit openclaw-node.service does not exist"],
])("a unit that the manager does not know is stopped already: %s says %j", async (verb, words) => {
  const run = async (_program: string, asked: readonly string[]) => {
    if (asked.includes("stop")) return notLoaded;
    return asked.includes(verb) ? { code: 1, stdout: "", stderr: words } : { code: 0, stdout: "", stderr: "" };
  };
  const manager = new Systemd({ configHome: "/nowhere", run, advice: "the advice" });
  await expect(manager.stop("node")).resolves.toBeUndefined();
  await expect(manager.disable("node")).resolves.toBeUndefined();
});
