/** `openclaw config path` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function pathCommand(context: Context): Command {
  return defineCommand("path", "where the configuration files are", ["openclaw config path"]).action(() => {
    const { config, product, stateDir } = context.paths();
    context.output.result({ path: config, productPath: product.config, stateDir }, ({ path }) => path);
  });
}
