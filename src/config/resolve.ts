/** Flags, then environment, then our file, then the product's, then defaults: one frozen configuration that knows its sources. */
import { OpenClawError } from "../errors.ts";
import { type Environment, read } from "./environment.ts";
import { assertNoProblems, type ConfigFile, readConfigFile } from "./file.ts";
import type { StatePaths } from "./paths.ts";
import {
  defaultSettings,
  factsOf,
  mergeSettings,
  parseTyped,
  readSettings,
  type SettingProblem,
} from "./read-settings.ts";
import { type SettingKey, settingKeys, type Settings, type SettingValue, type SettingValues } from "./settings.ts";

/** Where a value came from. */
export type Origin =
  | { readonly from: "flag" }
  | { readonly from: "env"; readonly name: string }
  | { readonly from: "toolkit-config" | "product-config"; readonly path: string }
  | { readonly from: "default" };

/** What one source says. */
interface Layer {
  readonly values: SettingValues;
  readonly origin: (key: SettingKey) => Origin;
}

/** A value that one source has for a key. */
interface Sourced<Key extends SettingKey> {
  readonly value: SettingValue<Key>;
  readonly origin: Origin;
}

export interface Config {
  /** The strongest value of each key. Secrets are `Secret`s. */
  readonly settings: Settings;
  /** Where each of them came from. A key without a value has no origin. */
  readonly origins: Readonly<Partial<Record<SettingKey, Origin>>>;
  /** Every source's value for a key, the strongest first. */
  sources<Key extends SettingKey>(key: Key): readonly Sourced<Key>[];
  /** Keys that the product's file sets to something we cannot get at, such as an unset variable. */
  readonly unavailable: readonly (SettingProblem & { readonly file: string })[];
  readonly paths: StatePaths;
}

/** Settings that flags stand for: as typed, or as values already. */
export type SettingFlags = Readonly<Partial<Record<SettingKey, unknown>>>;

export interface ConfigChoices {
  readonly flags?: SettingFlags | undefined;
  readonly env: Environment;
  readonly paths: StatePaths;
}

/**
 * Reads both files and resolves. All that is wrong in them is one `config-invalid`; a bad flag or variable is `usage`; a file that
 * cannot be read is `state-unreadable`.
 */
export async function loadConfig({ flags, env, paths }: ConfigChoices): Promise<Config> {
  const files = await readConfigFiles({ env, paths });
  assertNoProblems(files);
  return resolveConfig({ flags, env, paths, files });
}

/** Our file and the product's, in this order, with whatever is wrong in them: what `config validate` shows. */
export function readConfigFiles({ env, paths }: Omit<ConfigChoices, "flags">): Promise<ConfigFile[]> {
  return Promise.all([
    readConfigFile({ path: paths.config, dialect: "toolkit", env }),
    readConfigFile({ path: paths.product.config, dialect: "product", env }),
  ]);
}

/** The same without reading: the decision what counts. `files` come in their order of strength. */
export function resolveConfig({
  flags = {},
  env,
  paths,
  files,
}: ConfigChoices & { readonly files: readonly ConfigFile[] }): Config {
  const layers = [flagLayer(flags), environmentLayer(env), ...files.map(fileLayer), defaultLayer()];
  const sources = <Key extends SettingKey>(key: Key) =>
    layers.flatMap(({ values, origin }): Sourced<Key>[] => {
      const value: SettingValues[Key] = values[key];
      return value === undefined ? [] : [{ value, origin: origin(key) }];
    });
  return Object.freeze({
    settings: mergeSettings(layers.map((layer) => layer.values)),
    origins: Object.freeze(
      Object.fromEntries(
        settingKeys.flatMap((key) =>
          sources(key)
            .slice(0, 1)
            .map(({ origin }) => [key, origin]),
        ),
      ),
    ),
    sources,
    unavailable: files.flatMap((file) => file.unavailable.map((problem) => ({ ...problem, file: file.path }))),
    paths,
  });
}

function flagLayer(flags: SettingFlags): Layer {
  const found = settingKeys.flatMap((key) => {
    const value = flags[key];
    return value === undefined ? [] : [[key, typeof value === "string" ? parseTyped(key, value) : value] as const];
  });
  const { values, problems } = readSettings(found);
  const [problem] = problems;
  if (problem !== undefined) throw new OpenClawError("usage", `${problem.key} ${problem.message}`);
  return { values, origin: () => ({ from: "flag" }) };
}

function environmentLayer(env: Environment): Layer {
  const found = settingKeys.flatMap((key) => {
    const { env: name } = factsOf(key);
    const typed = name === undefined ? undefined : read(env, name);
    return typed === undefined ? [] : [[key, valueIn(key, typed, name)] as const];
  });
  return { values: readSettings(found).values, origin: (key) => ({ from: "env", name: factsOf(key).env ?? "" }) };
}

/** A secret in a variable is taken as it is: it may well look like JSON5. */
function valueIn(key: SettingKey, typed: string, name: string | undefined): unknown {
  return factsOf(key).secret ? typed : parseTyped(key, typed, name);
}

function fileLayer({ path, dialect, values }: ConfigFile): Layer {
  return { values, origin: () => ({ from: `${dialect}-config`, path }) };
}

function defaultLayer(): Layer {
  return { values: defaultSettings(), origin: () => ({ from: "default" }) };
}
