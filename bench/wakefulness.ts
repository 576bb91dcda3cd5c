/**
 * Keeps every core awake. A core that sleeps takes longer to wake than a message takes to be answered, and how deep it sleeps depends on
 * the pauses between messages: what is measured then is the machine's power management. The spinners give way to everything else.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { availableParallelism, constants, setPriority } from "node:os";

/** Starts them; disposing ends them. */
export function keepCoresAwake(): Disposable {
  const spinners: ChildProcess[] = Array.from({ length: availableParallelism() }, () => {
    const spinner = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
    if (spinner.pid !== undefined) setPriority(spinner.pid, constants.priority.PRIORITY_LOW);
    return spinner;
  });
  return {
    [Symbol.dispose]() {
      for (const spinner of spinners) spinner.kill("SIGKILL");
    },
  };
}
