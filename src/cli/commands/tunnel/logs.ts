/** `openclaw tunnel logs` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function logsCommand(context: Context): Command {
  return defineCommand("logs", "what happened to a tunnel, also after its end", [
    "openclaw tunnel logs cloud",
    "openclaw tunnel logs cloud --follow --lines 5",
  ])
    .argument("<name>", "the tunnel's name, or a unique beginning of it")
    .option("--follow", "go on with what happens from now on")
    .option("-n, --lines <count>", "how many of the last entries to show", "50")
    .action(async (wanted: string, flags: { readonly follow?: boolean; readonly lines: string }) => {
      const { matchId } = await import("../../../identity/match-id.ts");
      const { followEntries, lastEntries, loggedTunnels, tunnelLogPath } = await import("../../../state/tunnel-log.ts");
      const { namedAs } = await import("../../tunnel-directory.ts");
      const { describeLogEntry } = await import("../../tunnel-events.ts");
      const { logDir } = context.paths();
      const count = readCount(flags.lines);
      const candidates = (await loggedTunnels(logDir)).map(namedAs);
      const name = matchId(wanted, candidates, "tunnel log", "openclaw tunnel list").id;
      const path = tunnelLogPath(logDir, name);
      if (flags.follow !== true) {
        const value = { name, file: path, entries: await lastEntries(path, count) };
        return context.output.result(value, ({ entries }) => entries.map(describeLogEntry).join("\n"));
      }
      const { runtime, options } = context;
      for await (const entry of followEntries(path, count, runtime, options.signal)) {
        context.output.event(entry, describeLogEntry);
      }
    });
}

function readCount(text: string): number {
  if (/^\d{1,6}$/u.test(text)) return Number(text);
  throw new OpenClawError("usage", `--lines ${JSON.stringify(text)} is not a number of lines`, {
    hint: "write a whole number, such as 50",
  });
}
