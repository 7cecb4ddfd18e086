// The chat's conversation with the server: join, talk, measure, come back. What it looks like is view.js's business.
//
// Routes (those of Pitaya's chat demo, and three of ours): request room.join, notify room.message, request room.ping and
// room.kick; pushes onMembers, onNewUser, onMessage. In a cluster (examples/cluster) the page's address says `type=`, the
// type of the servers that answer these: room.room.join. Which room it is about, every message says.

import { CereusError, Client, ErrorCode } from './client/index.js';
import * as view from './view.js';

const PING_EVERY_MS = 3000;
const REJOIN_EVERY_MS = 2000;
/** Enough to outlast a server that has not noticed yet that our old connection is dead: three heartbeats. */
const REJOIN_TRIES = 50;

const parameters = new URLSearchParams(location.search);
const port = parameters.get('port') ?? document.body.dataset.port;
const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.hostname}:${port}/`;

const type = parameters.get('type');
const room = parameters.get('room') ?? 'lobby';
const route = (name) => (type ? `${type}.room.${name}` : `room.${name}`);

const client = new Client({ user: { page: 'chat' } });
let me = ''; // the name we have in the room, or ask for
let inRoom = false; // we have been let in under that name
let pingTimer;
let rejoinTimer;

client.onState(({ state, retryInMs }) => {
    view.showState(state, retryInMs);
    clearInterval(pingTimer);
    clearTimeout(rejoinTimer);
    if (state !== 'connected') return;
    pingTimer = setInterval(ping, PING_EVERY_MS);
    void ping();
    if (me) void join(inRoom ? REJOIN_TRIES : 0); // a new connection is a stranger to the server
});

client.onPush('onMembers', ({ members }) => view.showMembers(namesIn(members), me, kick));
client.onPush('onNewUser', ({ content }) => view.addEvent(content));
client.onPush('onMessage', ({ name, content }) => view.addMessage(name, content, name === me));

view.onJoin(enter);
view.onSend((content) => client.notify(route('message'), { room, name: me, content }));
view.onRetry(() => client.retry());
view.onComeBack(() => enter(me));
addEventListener('online', () => client.retry());
view.start(parameters.get('name') ?? '');

/** Ask to be let in; the connection is made first if there is none. */
async function enter(name) {
    me = name;
    inRoom = false;
    try {
        if (client.state === 'connected') await join();
        else await client.connect(url); // and onState joins
    } catch (error) {
        refused(error);
    }
}

async function join(tries = 0) {
    try {
        const { code, result } = await client.request(route('join'), { room, name: me });
        if (code !== 0) throw new CereusError(String(code), result || 'The server said no.');
        inRoom = true;
        view.showRoom();
    } catch (error) {
        if (error.code === ErrorCode.disconnected) return; // the next connection tries again
        if (tries === 0) return refused(error);
        if (tries === REJOIN_TRIES) view.addEvent('Your old place is not free yet. Trying again.');
        rejoinTimer = setTimeout(() => void join(tries - 1), REJOIN_EVERY_MS);
    }
}

function refused(error) {
    me = '';
    inRoom = false;
    view.showWelcome(error.msg ?? error.message);
}

async function kick(name) {
    try {
        await client.request(route('kick'), { room, name });
    } catch (error) {
        view.addEvent(`${name} could not be kicked: ${error.msg ?? error.message}`);
    }
}

async function ping() {
    const start = performance.now();
    try {
        await client.request(route('ping'), { room });
    } catch (error) {
        // An error that the server sent took the same way there and back.
        if (error.code === ErrorCode.disconnected || error.code === ErrorCode.timeout) return;
    }
    view.showLatency(performance.now() - start);
}

/** Servers of this demo send a list, the text of a list, or names with commas between them. */
function namesIn(members) {
    if (Array.isArray(members)) return members.map(String);
    const text = String(members ?? '').trim();
    try {
        if (text.startsWith('[')) return JSON.parse(text).map(String);
    } catch {
        // not JSON after all
    }
    return text.split(',').map((name) => name.trim()).filter((name) => name !== '');
}
