/** `openclaw config validate` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { isFailure, OpenClawError } from "../../../errors.ts";
import { defineCommand } from "../../globals.ts";

export function validateCommand(context: Context): Command {
  return defineCommand("validate", "check the configuration files and name every problem", [
    "openclaw config validate",
  ]).action(async () => {
    const { assertNoProblems } = await import("../../../config/file.ts");
    const { readConfigFiles } = await import("../../../config/resolve.ts");
    const read = async () => {
      const found = await readConfigFiles({ env: context.options.env, paths: context.paths() });
      assertNoProblems(found);
      return found;
    };
    const files = await read().catch(withoutFix);
    const unavailable = files.flatMap(({ path, unavailable: keys }) =>
      keys.map((problem) => ({ file: path, ...problem })),
    );
    context.output.result({ valid: true, files: files.map(({ path }) => path), unavailable }, (value) =>
      ["The configuration is valid.", ...value.unavailable.map((one) => `${one.file}: ${one.key} ${one.message}`)].join(
        "\n",
      ),
    );
  });
}

/** Everybody else is told to run this command, which would only say the same again. */
function withoutFix(error: unknown): never {
  if (!isFailure(error, "config-invalid")) throw error;
  const { message, hint, details, cause } = error;
  throw new OpenClawError("config-invalid", message, { hint, details, cause });
}
