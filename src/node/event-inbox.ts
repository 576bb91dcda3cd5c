/** Events that arrive before anybody listens. */
import type { EventFrame } from "../protocol/frame.ts";

/** Events that arrive before anybody listens wait in order. */
export class EventInbox {
  #early: EventFrame[] = [];
  #listener: ((event: EventFrame) => void) | undefined;

  push(event: EventFrame): void {
    if (this.#listener === undefined) this.#early.push(event);
    else this.#listener(event);
  }

  listen(listener: (event: EventFrame) => void): void {
    this.#listener = listener;
    for (const event of this.#early.splice(0)) listener(event);
  }
}
