/** `openclaw demo` */
import type { Command } from "commander";
import type { DemoResult, DemoStep } from "../../demo/index.ts";
import { OpenClawError } from "../../errors.ts";
import type { Context } from "../context.ts";
import { defineCommand } from "../globals.ts";

export function demoCommand(context: Context): Command {
  return defineCommand("demo", "pair two throw-away gateways through SSH and show each step", [
    "openclaw demo",
    "openclaw demo --keep",
  ])
    .option("--keep", "stay up afterwards, and print commands to play with")
    .action(async (flags: { readonly keep?: boolean }) => {
      const { runDemo } = await import("../../demo/index.ts");
      const result = await runDemo({
        launcher: context.launcher(),
        env: context.options.env,
        runtime: context.runtime,
        signal: context.options.signal,
        onStep: (step) => context.output.event(step, describeStep),
        ...(flags.keep === true ? { whileUp: (upResult: DemoResult) => keepUp(context, upResult) } : {}),
      });
      const ok = result.toRemote.verified && result.toLocal.verified;
      if (!ok)
        throw new OpenClawError("failed", "a node answered, but not with what its program prints", {
          details: { ...result },
        });
      const { tryThis: _gone, ...shown } = result; // what they would play with is torn down
      context.output.result({ event: "done", ...shown }, (value) => describeResult(context, value));
    });
}

function describeStep({ step, detail, durationMs }: DemoStep): string {
  return `${step.padEnd(9)} ${`${durationMs} ms`.padStart(8)}  ${detail}`;
}

function describeResult(context: Context, result: Omit<DemoResult, "tryThis">): string {
  const rows = (["toRemote", "toLocal"] as const).map((name) => {
    const { deviceId, paired, verified, latencyMs } = result[name];
    return [
      name === "toRemote" ? "laptop -> host" : "host -> laptop",
      deviceId.slice(0, 12),
      yes(paired),
      yes(verified),
      `${latencyMs} ms`,
    ];
  });
  const columns = ["DIRECTION", "NODE", "PAIRED", "VERIFIED", "INVOKE"].map((title) => ({ title }));
  return `\n${context.output.table(columns, rows)}\n\nDone in ${(result.durationMs / 1000).toFixed(1)} s; everything was torn down.`;
}

function yes(value: boolean): string {
  return value ? "yes" : "no";
}

/** Waits for Ctrl-C. */
async function keepUp(context: Context, { tryThis }: DemoResult): Promise<void> {
  context.output.event({ event: "up", tryThis }, (event) =>
    [
      "",
      "Everything stays up. In another terminal:",
      ...event.tryThis.map((line) => `  ${line}`),
      "Ctrl-C ends it.",
    ].join("\n"),
  );
  const { signal } = context.options;
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
