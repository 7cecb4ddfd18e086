// How long to wait before the next try: exponential with full jitter, so that the clients of a server that restarts do
// not come back all at once.

export interface ReconnectOptions {
    /** Ceiling of the first wait; it doubles with each failure. Default 500. */
    baseMs?: number;
    /** Ceiling of every wait. Default 30000. */
    maxMs?: number;
    /** Failures in a row after which the client gives up. Default: never. */
    attemptsMax?: number;
}

/** The wait before try number `attempt` (from 1); `random` is in [0, 1). */
export function backoffMs(attempt: number, options: ReconnectOptions, random: number): number {
    const { baseMs = 500, maxMs = 30_000 } = options;
    return Math.round(random * Math.min(maxMs, baseMs * 2 ** (attempt - 1)));
}
