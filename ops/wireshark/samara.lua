-- Wireshark dissector for Samara datagrams. Copy it into a plug-in folder (Help > About > Folders) or name it:
--   wireshark -X lua_script:samara.lua capture.pcapng
--
-- Datagrams are recognised by their first bytes on any UDP port. What is sealed stays sealed; the messages themselves are shown in captures of
-- `samara capture --decrypted`, whose datagrams carry the top bit of the version and, in place of the tag, what the validator knew:
--   | type 1 | version 1 | reserved 2 | session 4 | counter 8 | kind 1, reserved 3, message | peer 2, verdict 1, reason 1, reserved 12 |
-- Every message with a view has it as samara.view, every digest is samara.digest, and so on: `samara.view == 7` finds all of a view.

-- BEGIN FORMAT: a test writes this block from the wire types (node/tests/dissector.rs)
local VERSION = 1
local OPENED = 128
local OUTER = 16
local INNER = 4
local TAG = 16
local DATAGRAM_MAX = 1372
local INIT = 1
local RESPONSE = 2
local COOKIE = 3
local DATA = 4
local NOISE_INIT = 141
local NOISE_RESPONSE = 85
local MAC = 16
local CHUNK_BYTES = 1024
local ROOT_BYTES = 32
local TYPES = { [INIT] = "handshake init", [RESPONSE] = "handshake response", [COOKIE] = "cookie", [DATA] = "data" }
local LENGTHS = { [INIT] = 189, [RESPONSE] = 117, [COOKIE] = 48 }
local KINDS = {
    [1] = { "vote", "critical" },
    [2] = { "nullify", "critical" },
    [3] = { "certificate", "critical" },
    [16] = { "announce", "high" },
    [17] = { "status", "high" },
    [18] = { "manifest_request", "high" },
    [19] = { "manifest", "high" },
    [20] = { "shred_request", "high" },
    [21] = { "certificate_request", "high" },
    [32] = { "shred", "normal" },
    [33] = { "repair_shred", "normal" },
    [48] = { "transactions", "low" },
}
local VERDICTS = { [0] = "message", [1] = "session", [2] = "dropped", [3] = "refused" }
local REFUSALS = { [0] = "oversize", [1] = "rate" }
-- Name, offset, bytes, type; of a vector also the bytes of an element.
local LAYOUTS = {
    vote = { size = 136, { "view", 0, 8, "u64" }, { "digest", 8, 32, "bytes" }, { "signature", 40, 96, "bytes" } },
    nullify = { size = 104, { "view", 0, 8, "u64" }, { "signature", 8, 96, "bytes" } },
    certificate = { size = 97, { "view", 0, 8, "u64" }, { "digest", 8, 32, "bytes" }, { "certificate_kind", 40, 1, "u8" }, { "signature", 41, 48, "bytes" }, { "signers", 89, 8, "vec", 1 } },
    shred_header = { size = 84, { "view", 0, 8, "u64" }, { "slice", 8, 2, "u16" }, { "shred", 10, 1, "u8" }, { "data_shreds", 11, 1, "u8" }, { "total_shreds", 12, 1, "u8" }, { "last_slice", 13, 1, "u8" }, { "code", 14, 1, "u8" }, { "payload_length", 16, 4, "u32" }, { "signature", 20, 64, "bytes" } },
    status = { size = 56, { "view", 0, 8, "u64" }, { "finalized_view", 8, 8, "u64" }, { "finalized_height", 16, 8, "u64" }, { "digest", 24, 32, "bytes" } },
    manifest_request = { size = 40, { "view", 0, 8, "u64" }, { "digest", 8, 32, "bytes" } },
    manifest = { size = 16, { "block_header", 0, 8, "vec", 1 }, { "slice_roots", 8, 8, "vec", 32 } },
    shred_request = { size = 58, { "view", 0, 8, "u64" }, { "slice", 8, 2, "u16" }, { "slice_root", 10, 32, "bytes" }, { "wanted", 42, 16, "bytes" } },
    certificate_request = { size = 16, { "from_view", 0, 8, "u64" }, { "to_view", 8, 8, "u64" } },
    transactions = { size = 8, { "payload", 0, 8, "vec", 1 } },
}
-- END FORMAT

local samara = Proto("samara", "Samara")
local fields, order = {}, {}

local function declare(name, make, ...)
    if not fields[name] then
        fields[name] = make("samara." .. name, ...)
        order[#order + 1] = fields[name]
    end
end

local function title(name)
    local words = name:gsub("_", " ")
    return words:sub(1, 1):upper() .. words:sub(2)
end

local kind_names, class_of = {}, {}
for byte, kind in pairs(KINDS) do
    kind_names[byte], class_of[byte] = kind[1], kind[2]
end

declare("type", ProtoField.uint8, "Type", base.DEC, TYPES)
declare("version", ProtoField.uint8, "Version", base.DEC)
declare("opened", ProtoField.bool, "Opened by the validator")
declare("session", ProtoField.uint32, "Receiver's session", base.HEX)
declare("counter", ProtoField.uint64, "Counter", base.DEC)
declare("noise", ProtoField.bytes, "Noise message")
declare("mac", ProtoField.bytes, "Mac")
declare("cookie", ProtoField.bytes, "Cookie")
declare("answered", ProtoField.bytes, "Mac of the answered init")
declare("ciphertext", ProtoField.bytes, "Ciphertext")
declare("tag", ProtoField.bytes, "Tag")
declare("kind", ProtoField.uint8, "Kind", base.DEC, kind_names)
declare("class", ProtoField.string, "Class")
declare("peer", ProtoField.uint16, "Validator at the other end", base.DEC)
declare("verdict", ProtoField.uint8, "Verdict", base.DEC, VERDICTS)
declare("reason", ProtoField.uint8, "Refused for", base.DEC, REFUSALS)
declare("proof", ProtoField.bytes, "Proof, leaf first")
declare("chunk", ProtoField.bytes, "Chunk of the code word")
declare("root", ProtoField.bytes, "Slice root")
declare("signer", ProtoField.uint16, "Signer", base.DEC)
declare("transaction", ProtoField.bytes, "Transaction")

local MAKE = {
    u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64,
    bytes = ProtoField.bytes, vec = ProtoField.bytes,
}
local names = {}
for name in pairs(LAYOUTS) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
    for _, entry in ipairs(LAYOUTS[name]) do
        declare(entry[1], MAKE[entry[4]], title(entry[1]))
    end
end
samara.fields = order

local malformed = ProtoExpert.new("samara.malformed", "Not what its kind says", expert.group.MALFORMED, expert.severity.ERROR)
samara.experts = { malformed }

-- The range of a vector: a relative pointer to its elements and their number (rkyv). Nil if it leads out of the message.
local function vector(message, at, element)
    local target, count = at + message(at, 4):le_int(), message(at + 4, 4):le_uint()
    if target < 0 or count > message:len() or target + count * element > message:len() then return nil end
    return target, count * element
end

local function add_signers(tree, range)
    local list = {}
    for byte = 0, range:len() - 1 do
        for bit = 0, 7 do
            if math.floor(range(byte, 1):uint() / 2 ^ bit) % 2 == 1 then
                list[#list + 1] = byte * 8 + bit
                tree:add(fields.signer, range(byte, 1), byte * 8 + bit)
            end
        end
    end
    tree:append_text(" (" .. table.concat(list, " ") .. ")")
end

-- Transactions of a payload: a length of two bytes before each.
local function add_transactions(tree, range)
    local at, count = 0, 0
    while at + 2 <= range:len() do
        local length = range(at, 2):le_uint()
        if length == 0 or at + 2 + length > range:len() then break end
        tree:add(fields.transaction, range(at + 2, length))
        at, count = at + 2 + length, count + 1
    end
    tree:append_text(" (" .. count .. " transactions)")
end

-- The fields of a layout at `base`. Returns the view if it has one; nil and false if a vector is out of bounds.
local function add_layout(tree, message, layout, base)
    local view
    for _, entry in ipairs(layout) do
        local name, at, kind = entry[1], base + entry[2], entry[4]
        if kind == "vec" then
            local target, length = vector(message, at, entry[5])
            if not target then return nil, false end
            if length > 0 then
                local item = tree:add(fields[name], message(target, length))
                if name == "signers" then add_signers(item, message(target, length)) end
                if name == "payload" then add_transactions(item, message(target, length)) end
            end
        elseif kind == "bytes" then
            tree:add(fields[name], message(at, entry[3]))
        else
            tree:add_le(fields[name], message(at, entry[3]))
        end
        if name == "view" then view = message(at, entry[3]):le_uint64() end
    end
    return view, true
end

-- A header at the front: shreds and announcements.
local function add_shred(tree, message, is_shred)
    local header = LAYOUTS.shred_header
    if message:len() < header.size then return nil, false end
    local view = add_layout(tree, message, header, 0)
    local rest = message:len() - header.size
    if not is_shred then
        if rest ~= ROOT_BYTES then return view, false end
        tree:add(fields.root, message(header.size, rest))
        return view, true
    end
    local proof = rest - CHUNK_BYTES
    if proof < 0 or proof % ROOT_BYTES ~= 0 then return view, false end
    for level = 0, proof / ROOT_BYTES - 1 do
        tree:add(fields.proof, message(header.size + level * ROOT_BYTES, ROOT_BYTES))
    end
    tree:add(fields.chunk, message(message:len() - CHUNK_BYTES, CHUNK_BYTES))
    return view, true
end

local function add_message(tree, message, kind)
    local layout = LAYOUTS[kind]
    if kind == "shred" or kind == "repair_shred" then return add_shred(tree, message, true) end
    if kind == "announce" then return add_shred(tree, message, false) end
    -- The root of an archive is its end.
    if not layout or message:len() < layout.size then return nil, false end
    return add_layout(tree, message, layout, message:len() - layout.size)
end

local function add_opened(tree, buffer, info)
    local byte = buffer(OUTER, 1):uint()
    local kind, length = kind_names[byte], buffer:len() - OUTER - INNER - TAG
    tree:add(fields.kind, buffer(OUTER, 1))
    if class_of[byte] then tree:add(fields.class, buffer(OUTER, 1), class_of[byte]):set_generated() end
    local trailer = buffer(buffer:len() - TAG, TAG)
    local peer, verdict = trailer(0, 2):le_uint(), trailer(2, 1):uint()
    local view, whole = nil, false
    if kind and length > 0 then
        local message = buffer(OUTER + INNER, length):tvb()
        view, whole = add_message(tree, message, kind)
    end
    if not whole then tree:add_proto_expert_info(malformed) end
    tree:add_le(fields.peer, trailer(0, 2))
    tree:add(fields.verdict, trailer(2, 1))
    if verdict == 3 then tree:add(fields.reason, trailer(3, 1)) end
    local at = view and (" view " .. tostring(view)) or ""
    info.cols.info = string.format("%s%s, validator %d%s", kind or "unknown kind", at, peer, verdict == 3 and ", refused" or "")
end

local function add_handshake(tree, buffer, kind)
    local function part(name, at, length) tree:add(fields[name], buffer(at, length)) end
    if kind == INIT then
        part("noise", OUTER, NOISE_INIT)
        part("mac", OUTER + NOISE_INIT, MAC)
        part("cookie", OUTER + NOISE_INIT + MAC, MAC)
    elseif kind == RESPONSE then
        part("noise", OUTER, NOISE_RESPONSE)
        part("mac", OUTER + NOISE_RESPONSE, MAC)
    else
        part("cookie", OUTER, MAC)
        part("answered", OUTER + MAC, MAC)
    end
end

function samara.dissector(buffer, info, root)
    info.cols.protocol = "Samara"
    local tree = root:add(samara, buffer())
    local kind, version = buffer(0, 1):uint(), buffer(1, 1):uint()
    local opened, cut = version >= OPENED, buffer:len() < buffer:reported_len()
    tree:add(fields.type, buffer(0, 1))
    tree:add(fields.version, buffer(1, 1), version % OPENED)
    tree:add(fields.opened, buffer(1, 1), opened)
    tree:add_le(fields.session, buffer(4, 4))
    tree:add_le(fields.counter, buffer(8, 8))
    info.cols.info = TYPES[kind] .. (cut and ", cut" or "")
    if cut then
        if opened and buffer:len() > OUTER then tree:add(fields.kind, buffer(OUTER, 1)) end
    elseif kind ~= DATA then
        add_handshake(tree, buffer, kind)
    elseif opened then
        add_opened(tree, buffer, info)
    else
        tree:add(fields.ciphertext, buffer(OUTER, buffer:len() - OUTER - TAG))
        tree:add(fields.tag, buffer(buffer:len() - TAG, TAG))
        info.cols.info = string.format("sealed, session 0x%08x, counter %s", buffer(4, 4):le_uint(), tostring(buffer(8, 8):le_uint64()))
    end
    return buffer:len()
end

local function is_ours(buffer, info, root)
    local length = buffer:reported_len()
    if buffer:len() < OUTER or length > DATAGRAM_MAX then return false end
    local kind, version = buffer(0, 1):uint(), buffer(1, 1):uint()
    if not TYPES[kind] or version % OPENED ~= VERSION or buffer(2, 2):uint() ~= 0 then return false end
    local fits = LENGTHS[kind] and LENGTHS[kind] == length or kind == DATA and length >= OUTER + INNER + TAG
    if not fits or (version >= OPENED and kind ~= DATA) then return false end
    samara.dissector(buffer, info, root)
    return true
end

samara:register_heuristic("udp", is_ours)
DissectorTable.get("udp.port"):add_for_decode_as(samara)
