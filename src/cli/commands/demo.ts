/** `openclaw demo` */
import { realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Command } from "commander";
import type { Launcher } from "../../demo/cli-process.ts";
import type { DemoCommand, DemoResult, DemoStep } from "../../demo/index.ts";
import { OpenClawError } from "../../errors.ts";
import { shellWord } from "../../shell-word.ts";
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
async function keepUp(context: Context, result: DemoResult): Promise<void> {
  const { env } = context.options;
  const up = { event: "up", tryThis: result.tryThis.map((command) => commandLine(command, env)) };
  context.output.event(up, ({ tryThis }) =>
    [
      "",
      "Everything stays up. In another terminal:",
      ...[...shellSetup(context.launcher(), env), ...tryThis].map((line) => `  ${line}`),
      "Ctrl-C ends it.",
    ].join("\n"),
  );
  await context.untilSignal();
}

type Environment = Context["options"]["env"];

/** With the state directory in front, and without what else this shell may say about states and gateways: it is not meant for the demo's. */
function commandLine({ stateDir, words }: DemoCommand, env: Environment): string {
  const foreign = Object.keys(env).filter(
    (name) => /^(?:OPENCLAW_|CF_ACCESS_)/u.test(name) && name !== "OPENCLAW_STATE_DIR" && env[name] !== undefined,
  );
  const settings = [...foreign.map((name) => `${name}=`), `OPENCLAW_STATE_DIR=${shellWord(stateDir)}`];
  return [...settings, "openclaw", ...words.map(shellWord)].join(" ");
}

/** A definition of `openclaw` for a shell that does not find this very program by that name: of a checkout, or of `npx`. */
function shellSetup({ command, args }: Launcher, env: Environment): readonly string[] {
  const [script] = args;
  // npm's own additions to PATH are not there in another terminal.
  const directories = (env["PATH"] ?? "").split(delimiter).filter((path) => !path.endsWith(npmDirectory));
  const found = directories.map((path) => realPath(join(path, "openclaw"))).find((path) => path !== undefined);
  if (script === undefined || found === realPath(script)) return [];
  return [`openclaw() { ${[command, ...args].map(shellWord).join(" ")} "$@"; }`];
}

const npmDirectory = join("node_modules", ".bin");

/** The file behind a path and its links, or undefined. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
