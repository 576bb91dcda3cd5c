/**
 * What stands for another value in the product's file: `${NAME}` in any text (with `$${NAME}` for the text itself), and objects
 * `{source, provider, id}` in place of a secret. Ours has neither: our commands write plain values.
 */
import { type Environment, read } from "./environment.ts";

export type Resolved = { readonly value: unknown } | { readonly unavailable: string };

/** A value with its references to the environment filled in, or why that cannot be done here. */
export function resolveReferences(value: unknown, env: Environment): Resolved {
  if (typeof value === "string") return substitute(value, env);
  if (Array.isArray(value)) return resolveAll(value, env, (items) => items);
  if (typeof value !== "object" || value === null) return { value };
  const { source, id } = { source: undefined, id: undefined, ...value };
  if (typeof source === "string" && typeof id === "string") return lookUp(source, id, env);
  const keys = Object.keys(value);
  return resolveAll(Object.values(value), env, (items) =>
    Object.fromEntries(keys.map((key, index) => [key, items[index]])),
  );
}

function resolveAll(
  values: readonly unknown[],
  env: Environment,
  combine: (resolved: readonly unknown[]) => unknown,
): Resolved {
  const resolved: unknown[] = [];
  for (const value of values) {
    const one = resolveReferences(value, env);
    if ("unavailable" in one) return one;
    resolved.push(one.value);
  }
  return { value: combine(resolved) };
}

function substitute(text: string, env: Environment): Resolved {
  let missing: string | undefined;
  const value = text.replaceAll(/(\$?)\$\{([A-Z_][A-Z0-9_]*)\}/g, (whole, escaped: string, name: string) => {
    if (escaped !== "") return whole.slice(1);
    const found = read(env, name);
    if (found === undefined) missing ??= name;
    return found ?? "";
  });
  return missing === undefined ? { value } : { unavailable: `the environment variable ${missing} is not set` };
}

function lookUp(source: string, id: string, env: Environment): Resolved {
  if (source !== "env") return { unavailable: `its value is kept in the product's "${source}" secret store` };
  const value = read(env, id);
  return value === undefined ? { unavailable: `the environment variable ${id} is not set` } : { value };
}
