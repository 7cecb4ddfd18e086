// Time as the client sees it, so that tests can turn the clock by hand.

export interface Clock {
    /** Milliseconds that only ever rise. */
    now(): number;
    setTimeout(fn: () => void, ms: number): unknown;
    clearTimeout(timer: unknown): void;
}

export const systemClock: Clock = {
    now: () => performance.now(),
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (timer) => clearTimeout(timer as number | undefined),
};
