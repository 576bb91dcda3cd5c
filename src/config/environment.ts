/** Environment variables as the rest of the program is handed them. */

export type Environment = Readonly<Record<string, string | undefined>>;

/** The value of a variable; one that is set to nothing counts as not set. */
export function read(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value === "" ? undefined : value;
}
