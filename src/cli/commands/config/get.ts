/** `openclaw config get` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";

export function getCommand(context: Context): Command {
  return defineCommand("get", "a setting's value, and where it comes from", [
    "openclaw config get gateway.bind",
    "openclaw config get gateway.auth.token --show",
  ])
    .argument("<path>", "the key, or a group such as gateway.auth")
    .option("--show", "print secrets instead of their digests")
    .action(async (path: string, flags: { readonly show?: boolean }) => {
      const { isGroup, unknownKey } = await import("../../../config/read-settings.ts");
      const { isSettingKey, settingKeys } = await import("../../../config/settings.ts");
      const { asText, viewSetting } = await import("../../setting-view.ts");
      if (!isSettingKey(path) && !isGroup(path)) throw unknownKey(path);
      const config = await context.config();
      if (isSettingKey(path)) {
        const view = viewSetting(config, path, flags.show === true);
        context.output.result({ path, ...view }, ({ value }) => (value === null ? "" : asText(value)));
        context.output.detail(`from ${view.origin}`);
        return;
      }
      const settings = settingKeys
        .filter((key) => key.startsWith(`${path}.`))
        .map((key) => viewSetting(config, key, flags.show === true));
      context.output.result({ path, settings }, (value) =>
        value.settings
          .filter(({ value: one }) => one !== null)
          .map((one) => `${one.key} = ${asText(one.value)}`)
          .join("\n"),
      );
    });
}
