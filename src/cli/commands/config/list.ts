/** `openclaw config list` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function listCommand(context: Context): Command {
  return defineCommand("list", "every setting, with its value and where it comes from", [
    "openclaw config list",
  ]).action(async () => {
    const { settingKeys } = await import("../../../config/settings.ts");
    const { asText, viewSetting } = await import("../../setting-view.ts");
    const config = await context.config();
    const settings = settingKeys.map((key) => viewSetting(config, key));
    context.output.result({ settings }, (value) => {
      const columns = ["KEY", "VALUE", "FROM", "WHAT IT IS"].map((title) => ({ title, keep: title === "KEY" }));
      const rows = value.settings.map((one) => [
        one.key,
        one.value === null ? "" : asText(one.value),
        one.origin,
        one.about,
      ]);
      return context.output.table(columns, rows);
    });
  });
}
