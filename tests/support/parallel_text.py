"""Six sentence pairs, and settings of subwords for them."""

EN = [
    "A man in an orange hat stares at something.",
    "Two young, White males are outside near many bushes.",
    "It's the \"well-known\" house, isn't it?",
    "She paid $3.50 (about 3,20 €) in April & left.",
    "Dr. Smith's dog weighs 20 kg; the other one 5%.",
    "People walk / run through St. John's park...",
]
DE = [
    "Ein Mann mit einem orangefarbenen Hut starrt etwas an.",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Ist das nicht das „bekannte“ Haus?",
    "Sie zahlte 3,20 Euro (etwa 5%) im April & ging.",
    "Dr. Schmidts Hund wiegt 20 kg; der andere 5%.",
    "Leute gehen / rennen durch den Öko-Park...",
]
SETTINGS = [
    {"type": "sentencepiece", "size": 110, "joint": True},
    {"type": "sentencepiece", "size": 70, "joint": False},
    {"type": "bpe", "size": 60, "joint": True},
    {"type": "bpe", "size": 60, "joint": False},
    {"type": "words", "size": 1000, "joint": False, "moses": True},
    {"type": "words", "size": 1000, "joint": True},
]
