/** `openclaw security audit` */
import type { Command } from "commander";
import type { Finding } from "../../../config/security-audit.ts";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function auditCommand(context: Context): Command {
  return defineCommand("audit", "what is unsafe in the configuration and the state directory, why, and what to do", [
    "openclaw security audit",
    "openclaw security audit --json",
  ]).action(async () => {
    const { auditSecurity } = await import("../../../config/security-audit.ts");
    const { gatherSecurityFacts } = await import("../../security-facts.ts");
    const config = await context.config();
    const findings = auditSecurity(await gatherSecurityFacts(config, context.options.env["PATH"])).map(
      (finding): Finding => ({ ...finding, fix: context.pasteable(finding.fix) }),
    );
    const count = (wanted: Finding["severity"]) => findings.filter(({ severity }) => severity === wanted).length;
    const value = { findings, summary: { critical: count("critical"), warn: count("warn"), info: count("info") } };
    const { critical, warn, info } = value.summary;
    const text = () =>
      [...findings.flatMap(paragraph), `${critical} critical, ${warn} to be warned of, ${info} to know`].join("\n");
    if (critical === 0) return context.output.result(value, text);
    if (!context.output.options.json) context.output.raw(text());
    const [worst] = findings;
    throw new OpenClawError(
      "failed",
      `the audit found ${critical} critical ${critical === 1 ? "problem" : "problems"}`,
      {
        hint: worst?.what,
        fix: worst?.fix,
        details: value,
      },
    );
  });
}

function paragraph({ id, severity, what, why, fix }: Finding): string[] {
  return [`${severity.toUpperCase()}  ${id}`, `  ${what}`, `  why: ${why}`, `  fix: ${fix}`, ""];
}
