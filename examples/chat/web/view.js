// What the chat looks like: everything that touches the document. It knows nothing of the connection; chat.js tells it
// what happened and is told what the user wants. Text from others goes into the page as text only.

const LINES_MAX = 500;
const SAMPLES_MAX = 20;
const SAME_VOICE_MS = 2 * 60_000;

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const samples = []; // of the latency, ms, newest last
let lastLine = { name: undefined, at: 0 };
const actions = {}; // of the notice's button, by the connection's state
let following = true; // the newest line is in sight and shall stay there
let countdown;

const STATE_TEXT = {
    idle: 'not connected',
    connecting: 'connecting',
    handshaking: 'shaking hands',
    connected: 'connected',
    reconnecting: 'reconnecting',
    kicked: 'kicked',
    closed: 'closed',
};

/** Puts the page in its first state; `name` is filled in for the user. */
export function start(name) {
    $('name').value = name || recall();
    // On a narrow screen the list of people would push the talk out of sight.
    $('people').open = matchMedia('(min-width: 44rem)').matches;
    $('log').addEventListener('scroll', () => {
        following = atBottom();
        if (following) $('newer').hidden = true;
    });
    // A notice, or the keyboard of a phone, takes room away from below.
    new ResizeObserver(() => following && toBottom()).observe($('log'));
    $('newer').addEventListener('click', toBottom);
    $('notice-button').addEventListener('click', () => actions[document.body.dataset.state]?.());
}

export function onJoin(fn) {
    $('join').addEventListener('submit', (event) => {
        event.preventDefault();
        const name = $('name').value.trim();
        $('join-error').textContent = '';
        $('join-button').disabled = true;
        remember(name);
        void fn(name);
    });
}

export function onSend(fn) {
    $('compose').addEventListener('submit', (event) => {
        event.preventDefault();
        const content = $('text').value.trim();
        if (content === '' || $('send').disabled) return;
        fn(content);
        $('text').value = '';
        toBottom();
    });
}

/** The button of the notice: try the connection now. */
export function onRetry(fn) {
    actions.reconnecting = fn;
}

/** The button of the notice after a kick: come in again. */
export function onComeBack(fn) {
    actions.kicked = fn;
}

export function showState(state, retryInMs) {
    document.body.dataset.state = state;
    $('state-text').textContent = STATE_TEXT[state];
    // A draft survives; it can be sent when the room is back.
    $('send').disabled = state !== 'connected';
    clearInterval(countdown);
    if (state === 'connected' || state === 'closed') hideNotice();
    if (state !== 'connected') {
        $('latency').textContent = '';
        samples.length = 0;
        drawSpark();
    }
    if (state === 'reconnecting') showReconnecting(retryInMs);
    else $('notice-when').textContent = state === 'kicked' ? '' : 'Trying again…';
    if (state === 'kicked') showKicked();
}

function showReconnecting(retryInMs) {
    const until = performance.now() + retryInMs;
    const tick = () => {
        const seconds = Math.ceil((until - performance.now()) / 1000);
        $('notice-when').textContent = seconds > 1 ? `Next try in ${seconds} s.` : 'Trying again…';
    };
    tick();
    countdown = setInterval(tick, 1000);
    showNotice('The server is out of reach.', 'Try now', 'warn');
}

function showKicked() {
    $('members').replaceChildren();
    $('count').textContent = '0';
    showNotice('You were removed from the room.', 'Join again', 'bad');
}

function showNotice(text, button, tone) {
    // Only a change is written: it is an alert, and screen readers read it out.
    if ($('notice-text').textContent !== text) $('notice-text').textContent = text;
    $('notice-button').textContent = button;
    $('notice').dataset.tone = tone;
    $('notice').hidden = false;
}

function hideNotice() {
    $('notice').hidden = true;
    $('notice-text').textContent = '';
}

/** Back at the door, with the reason if there is one. */
export function showWelcome(error = '') {
    $('welcome').hidden = false;
    $('room').hidden = true;
    $('join-button').disabled = false;
    $('join-error').textContent = error;
    $('name').focus();
}

export function showRoom() {
    $('join-button').disabled = false;
    const first = $('room').hidden;
    $('welcome').hidden = true;
    $('room').hidden = false;
    if (first) $('text').focus();
    else addEvent('Back in the room');
}

export function showMembers(names, me, kick) {
    const sorted = [...names].sort((a, b) => Number(b === me) - Number(a === me) || a.localeCompare(b));
    $('count').textContent = String(sorted.length);
    $('members').replaceChildren(...sorted.map((name) => memberRow(name, name === me, kick)));
}

function memberRow(name, isMe, kick) {
    const row = element('li', '', avatar(name), element('span', 'who', name));
    row.dataset.name = name;
    if (isMe) {
        row.append(element('small', '', 'you'));
    } else {
        const button = element('button', 'kick', 'Kick');
        button.type = 'button';
        button.setAttribute('aria-label', `Kick ${name}`);
        button.addEventListener('click', () => void kick(name));
        row.append(button);
    }
    return row;
}

export function addMessage(name, content, mine) {
    const now = Date.now();
    const goesOn = lastLine.name === name && now - lastLine.at < SAME_VOICE_MS;
    lastLine = { name, at: now };
    const bubble = element('p', 'bubble', content);
    const line = element('article', `message${mine ? ' mine' : ''}${goesOn ? ' goes-on' : ''}`);
    if (!goesOn) {
        const time = element('time', '', clock.format(now));
        line.append(element('header', '', avatar(name), element('b', '', mine ? 'You' : name), time));
    }
    line.append(bubble);
    addLine(line);
}

/** Something that happened in the room. */
export function addEvent(text) {
    lastLine = { name: undefined, at: 0 };
    addLine(element('p', 'event', text));
}

function addLine(line) {
    const log = $('log');
    log.append(line);
    while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
    $('empty').hidden = true;
    if (following) toBottom();
    else $('newer').hidden = false;
}

function atBottom() {
    const { scrollHeight, scrollTop, clientHeight } = $('log');
    return scrollHeight - scrollTop - clientHeight < 60;
}

function toBottom() {
    following = true;
    $('log').scrollTop = $('log').scrollHeight;
    $('newer').hidden = true;
}

export function showLatency(ms) {
    samples.push(ms);
    if (samples.length > SAMPLES_MAX) samples.shift();
    $('latency').textContent = ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
    drawSpark();
}

function drawSpark() {
    const top = Math.max(...samples, 1);
    const step = 60 / (SAMPLES_MAX - 1);
    const start = SAMPLES_MAX - samples.length;
    const points = samples.map((ms, i) => `${((start + i) * step).toFixed(1)},${(18 - (16 * ms) / top).toFixed(1)}`);
    $('spark').firstElementChild.setAttribute('points', points.join(' '));
    $('spark').classList.toggle('ready', samples.length > 1);
}

function avatar(name) {
    const mark = element('span', 'avatar', [...name][0]?.toUpperCase() ?? '?');
    mark.setAttribute('aria-hidden', 'true');
    mark.style.setProperty('--hue', String(hueOf(name)));
    return mark;
}

/** The same colour for the same name, on every page. */
function hueOf(name) {
    let hash = 7;
    for (const char of name) hash = (hash * 31 + char.codePointAt(0)) % 3600;
    return hash % 360;
}

function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
}

// Storage may be forbidden, and the name is only a convenience.
function remember(name) {
    try {
        sessionStorage.setItem('name', name);
    } catch {
        return;
    }
}

function recall() {
    try {
        return sessionStorage.getItem('name') ?? '';
    } catch {
        return '';
    }
}
