/** `openclaw explain` */
import type { Command } from "commander";
import { nearest } from "../../config/nearest.ts";
import { OpenClawError } from "../../errors.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { failureCodes } from "../failure-codes.ts";
import { defineCommand } from "../globals.ts";

export function explainCommand(context: Context): Command {
  return defineCommand("explain", "what an error code means, what usually causes it, and what to type", [
    "openclaw explain",
    "openclaw explain pairing-required",
  ])
    .argument("[code]", "an error code; without one, all of them")
    .action((code: string | undefined) => {
      if (code === undefined) return explainAll(context);
      const entry = entries().find((candidate) => candidate.code === code);
      if (entry === undefined) throw unknownCode(code);
      return context.output.result(entry, (value) =>
        [
          `${value.code} (exit ${value.exitCode}, ${value.exitName})`,
          `  what it means  ${value.meaning}`,
          `  usual cause    ${value.causes}`,
          `  what to do     ${value.fix}`,
        ].join("\n"),
      );
    });
}

function explainAll(context: Context): void {
  context.output.result({ codes: entries() }, (value) =>
    context.output.table(
      [{ title: "CODE", keep: true }, { title: "EXIT" }, { title: "WHAT IT MEANS" }],
      value.codes.map(({ code, exitCode, meaning }) => [code, String(exitCode), meaning]),
    ),
  );
}

function entries() {
  return Object.entries(failureCodes).map(([code, { exit, meaning, causes, remedy }]) => ({
    code,
    exitCode: exitCodes[exit],
    exitName: exit,
    meaning,
    causes,
    fix: remedy,
  }));
}

function unknownCode(code: string): OpenClawError {
  const close = nearest(code, Object.keys(failureCodes));
  return new OpenClawError("usage", `there is no error code "${code}"`, {
    hint: close === undefined ? "openclaw explain lists them" : `did you mean ${close}?`,
    fix: close === undefined ? "openclaw explain" : `openclaw explain ${close}`,
  });
}
