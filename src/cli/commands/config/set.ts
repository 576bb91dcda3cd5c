/** `openclaw config set` */
import type { Command } from "commander";
import { OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

interface Flags {
  readonly valueFile?: string;
}

export function setCommand(context: Context): Command {
  return defineCommand("set", "change a setting; comments in the file stay", [
    "openclaw config set gateway.port 18800",
    "openclaw config set gateway.auth.token --value-file token",
    `openclaw config set gateway.http.routes '[{ path: "/v1/", upstream: "http://127.0.0.1:11434" }]'`,
  ])
    .argument("<path>", "the key")
    .argument("[value]", "its new value: JSON5, or plain text")
    .option("--value-file <path>", "a file with the value, or - for stdin; for secrets")
    .action(async (key: string, value: string | undefined, flags: Flags) => {
      const { setKey } = await import("../../../config/edit.ts");
      const { factsOf, unknownKey } = await import("../../../config/read-settings.ts");
      const { isSettingKey } = await import("../../../config/settings.ts");
      const { editConfig } = await import("../../config-edit.ts");
      if (!isSettingKey(key)) throw unknownKey(key);
      const fromFile = await context.secretFile(flags.valueFile, "--value-file");
      const typed = fromFile?.reveal() ?? value;
      if (typed === undefined || (fromFile !== undefined && value !== undefined)) {
        throw new OpenClawError("usage", "give one value: as an argument, or with --value-file");
      }
      if (factsOf(key).secret && fromFile === undefined) {
        context.noteOnce(
          key,
          "warning: a secret on the command line can be read by other users of this machine; use --value-file",
        );
      }
      const changed = await editConfig(context, (text, path) => setKey(text, key, typed, path));
      context.output.result(
        { path: key, file: context.paths().config, changed },
        ({ path }) => `${path} ${changed ? "is set" : "was so already"}`,
      );
    });
}
