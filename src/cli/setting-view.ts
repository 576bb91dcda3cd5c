/** Settings as commands print them: secrets as digests, origins in words. */
import type { Config, Origin } from "../config/resolve.ts";
import { factsOf } from "../config/read-settings.ts";
import type { SettingKey } from "../config/settings.ts";
import { Secret } from "../secret.ts";

/** What stands for a value in output: itself, or the digests of the secrets in it unless they were asked for. */
function shownValue(value: unknown, show: boolean): unknown {
  if (value instanceof Secret) return show ? value.reveal() : value.digest();
  if (Array.isArray(value)) return value.map((item) => shownValue(item, show));
  return value;
}

/** A key with its value, where that came from, and what it is for. A key without a value has `null`. */
export function viewSetting(config: Config, key: SettingKey, show = false) {
  const value: unknown = config.settings[key];
  const { type, about, secret } = factsOf(key);
  const origin = config.origins[key];
  return {
    key,
    value: value === undefined ? null : shownValue(value, show),
    origin: origin === undefined ? "unset" : originName(origin),
    ...(origin !== undefined && "path" in origin ? { file: origin.path } : {}),
    type,
    about,
    secret,
  };
}

/** A value as one line of text. */
export function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function originName(origin: Origin): string {
  return origin.from === "env" ? origin.name : origin.from;
}
