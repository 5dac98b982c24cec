import type { Telemetry } from "../engine/ports/telemetry.ts";

/** More than this many calls before the receiver is there are forgotten; it opens within a second. */
const waitingMax = 10_000;

/**
 * Telemetry whose packages are loaded aside: a cold start does not wait for them, and without a connection string
 * they are never loaded. What is told meanwhile is kept and told in order.
 * @param open loads and opens the receiver
 * @param onFailure told once when it cannot be opened; everything is dropped from then on
 */
export function lazyTelemetry(
  open: () => Promise<Telemetry>,
  onFailure: (error: unknown) => void,
): Telemetry {
  let opened: Telemetry | null | undefined;
  let waiting: ((telemetry: Telemetry) => void)[] = [];
  const opening = open().then(
    (telemetry) => {
      opened = telemetry;
      for (const tell of waiting) tell(telemetry);
      waiting = [];
    },
    (error: unknown) => {
      opened = null;
      waiting = [];
      onFailure(error);
    },
  );
  const tell = (call: (telemetry: Telemetry) => void): void => {
    if (opened) call(opened);
    else if (opened === undefined && waiting.length < waitingMax) waiting.push(call);
  };
  return {
    event: (...args) => tell((telemetry) => telemetry.event(...args)),
    metric: (...args) => tell((telemetry) => telemetry.metric(...args)),
    span: (...args) => tell((telemetry) => telemetry.span(...args)),
    async flush() {
      await opening;
      await opened?.flush();
    },
  };
}

/** Tells several receivers. */
export function together(receivers: readonly Telemetry[]): Telemetry {
  return {
    event: (...args) => receivers.forEach((receiver) => void receiver.event(...args)),
    metric: (...args) => receivers.forEach((receiver) => void receiver.metric(...args)),
    span: (...args) => receivers.forEach((receiver) => void receiver.span(...args)),
    flush: async () => void (await Promise.allSettled(receivers.map((receiver) => receiver.flush()))),
  };
}
