"""Images: references, loading, limits, coordinates. Nothing else in the package opens an image."""

from __future__ import annotations

from langgraph_speceyes.images.block import (
    block_of,
    find_images,
    is_image_block,
    parse_block,
    question_text,
    readable_images,
)
from langgraph_speceyes.images.cache import ImageCache
from langgraph_speceyes.images.channel import MessagesChannel
from langgraph_speceyes.images.checkpoints import RestoredThread, restore_checkpoints
from langgraph_speceyes.images.conversation import Conversation, check_count
from langgraph_speceyes.images.coordinates import CoordinateSpace, from_pixels, resized_size, to_pixels
from langgraph_speceyes.images.fitting import Fitted, check_header, clear_fitted, fitted, fitted_size
from langgraph_speceyes.images.graph_store import GraphImageStore
from langgraph_speceyes.images.inline import images_as_urls, inline_images, inline_local_images
from langgraph_speceyes.images.intern import intern_images, intern_reference, restore_images, restore_thread
from langgraph_speceyes.images.load import (
    aload_image,
    check_image,
    check_region,
    clear_cache,
    configure_cache,
    encode_image,
    encoded,
    load_image,
    load_resized,
)
from langgraph_speceyes.images.off_loop import off_loop, stoppable
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy, effective, in_force
from langgraph_speceyes.images.reference import ImageRef, crop_reference, inline_reference, parse_reference
from langgraph_speceyes.images.region import Region
from langgraph_speceyes.images.resize import ResizeRule, as_rule
from langgraph_speceyes.images.store import (
    ImageStore,
    ImageStoreProtocol,
    default_store,
    reset_default_store,
    set_default_store,
)

__all__ = [
    "DEFAULT_POLICY",
    "Conversation",
    "CoordinateSpace",
    "Fitted",
    "GraphImageStore",
    "ImageCache",
    "ImagePolicy",
    "ImageRef",
    "ImageStore",
    "ImageStoreProtocol",
    "MessagesChannel",
    "Region",
    "ResizeRule",
    "RestoredThread",
    "aload_image",
    "as_rule",
    "block_of",
    "check_count",
    "check_header",
    "check_image",
    "check_region",
    "clear_cache",
    "clear_fitted",
    "configure_cache",
    "crop_reference",
    "default_store",
    "effective",
    "encode_image",
    "encoded",
    "find_images",
    "fitted",
    "fitted_size",
    "from_pixels",
    "images_as_urls",
    "in_force",
    "inline_images",
    "inline_local_images",
    "inline_reference",
    "intern_images",
    "intern_reference",
    "is_image_block",
    "load_image",
    "load_resized",
    "off_loop",
    "parse_block",
    "parse_reference",
    "question_text",
    "readable_images",
    "reset_default_store",
    "resized_size",
    "restore_checkpoints",
    "restore_images",
    "restore_thread",
    "set_default_store",
    "stoppable",
    "to_pixels",
]
