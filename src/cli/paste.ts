/** Commands that are printed to be pasted: they go to the gateway, and use the state, of the command line that printed them. */
import { shellWord } from "../shell-word.ts";
import type { Globals } from "./globals.ts";
import { hasTarget, type TargetFlags, takesTarget } from "./target-options.ts";

/** The options of a command line, as far as other commands may need them. */
export type Given = Globals & TargetFlags;

/**
 * `command` (`openclaw …`) with the target options and the state options that this command line was given, as words of a POSIX shell
 * (POSIX.1-2024, Shell Command Language § 2.2). Secrets stay out, and so does what stood on standard input. Commands of other programs
 * are returned as they are.
 */
export function pasteable(command: string, given: Given): string {
  const [, words, rest = ""] = /^openclaw ([a-z]+(?: [a-z]+(?= |$))*)(.*)$/su.exec(command) ?? [];
  if (words === undefined) return command;
  const target = takesTarget(words) && hasTarget(given) ? targetOptions(given, /(?:^| )--url /u.test(rest)) : [];
  const carried = [...target, ...stateOptions(given)].filter(([name]) => !rest.includes(` ${name} `));
  return [`openclaw ${words}`, quoteForeign(rest.trim()), ...carried.map(spell)]
    .filter((part) => part !== "")
    .join(" ");
}

type CarriedOption = readonly [name: string, value: string | true];

/** An address that the command brings along stands for itself; what is needed to be let in there still goes with it. */
function targetOptions(given: TargetFlags, hasAddress: boolean): CarriedOption[] {
  const address: OptionValues = {
    "--url": given.url,
    "--host": given.host,
    "--port": given.port,
    "--tls": given.tls,
    "--context-path": given.contextPath,
    "--tls-fingerprint": given.tlsFingerprint,
  };
  return [
    ...(hasAddress ? [] : asOptions(address)),
    ...asOptions({
      "--token-file": unlessStdin(given.tokenFile),
      "--password-file": unlessStdin(given.passwordFile),
      "--header-file": unlessStdin(given.headerFile),
      "--no-auth-header": given.authHeader === false,
      "--insecure-ws": given.insecureWs,
    }),
  ];
}

function stateOptions({ stateDir, config, profile }: Globals): CarriedOption[] {
  return asOptions({ "--state-dir": stateDir, "--config": config, "--profile": profile });
}

type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

function asOptions(values: OptionValues): CarriedOption[] {
  return Object.entries(values).flatMap(([name, value]): CarriedOption[] =>
    value === undefined || value === false ? [] : [[name, value]],
  );
}

function unlessStdin(path: string | undefined): string | undefined {
  return path === "-" ? undefined : path;
}

function spell([name, value]: CarriedOption): string {
  return value === true ? name : `${name} ${shellWord(value)}`;
}

/**
 * What stands behind the words may be an id that another machine chose; anything a shell would act on makes it one quoted word. A word in
 * single quotes is one that is quoted already: a shell acts on nothing in it.
 */
function quoteForeign(rest: string): string {
  return /^(?:[\w@%+=:,./ -]|'[^']*')*$/u.test(rest) ? rest : shellWord(rest);
}
