/** How hard a secret is to guess, judged by what guessers try first. Pure; nothing of the secret is in the answer. */

export interface Weakness {
  /** `guessed`: it falls in the first minutes; `short`: it holds only as long as attempts are limited. */
  readonly kind: "guessed" | "short";
  readonly why: string;
}

/** What people put in when they mean to change it later, and what every list of guesses begins with. */
const commonWords =
  /^(?:(?:my|the|test|dev|default|admin|gateway|openclaw|secret|shared|super|root|user|change|pass|letmein|qwerty|welcome|token|password|pwd|please|me|it|this|key|api|auth|demo|example|local|foo|bar|dragon|monkey|iloveyou|abc|xyz|asdf)[\s._-]*)+\d*!*$/iu;

/** Characters below which a token, made by a program, should not be; a password is typed and may be shorter. */
const enough = { token: 24, password: 12 } as const;
const minLength = 8;
const minDistinct = 5;

/** Why a token or password is weak, or undefined when nothing speaks against it. */
export function weaknessOf(secret: string, kind: keyof typeof enough): Weakness | undefined {
  const guessed = (why: string): Weakness => ({ kind: "guessed", why });
  if (secret.length < minLength) return guessed(`it has fewer than ${minLength} characters`);
  if (new Set(secret).size < minDistinct) return guessed("it repeats a few characters");
  if (isRepetition(secret)) return guessed("it repeats one short text");
  if (isSequence(secret)) return guessed("its characters follow each other in the alphabet, or in counting");
  if (commonWords.test(secret)) return guessed("it is made of words that are guessed first");
  if (secret.length >= enough[kind]) return undefined;
  return { kind: "short", why: `it has fewer than ${enough[kind]} characters` };
}

function isRepetition(text: string): boolean {
  // A text that repeats stands in its own double once more before the middle.
  const at = `${text}${text}`.indexOf(text, 1);
  return at <= text.length / 3;
}

function isSequence(text: string): boolean {
  const steps = [...text].slice(1).map((char, at) => char.charCodeAt(0) - text.charCodeAt(at));
  const [first = 0] = steps;
  return Math.abs(first) === 1 && steps.filter((step) => step === first).length >= steps.length - 1;
}
