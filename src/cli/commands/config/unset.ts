/** `openclaw config unset` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function unsetCommand(context: Context): Command {
  return defineCommand("unset", "remove a setting from the file; comments stay", ["openclaw config unset gateway.port"])
    .argument("<path>", "the key; it may be one that is not known any more")
    .action(async (key: string) => {
      const { unsetKey } = await import("../../../config/edit.ts");
      const { editConfig } = await import("../../config-edit.ts");
      const changed = await editConfig(context, (text, path) => unsetKey(text, key, path));
      context.output.result({ path: key, file: context.paths().config, changed }, ({ path }) =>
        changed ? `${path} is removed` : `${path} was not set in ${context.paths().config}`,
      );
    });
}
